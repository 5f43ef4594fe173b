"""A static encoder's table: read, written, and whose it is."""

import json
from pathlib import Path

import numpy as np
import pytest

from policies.encoders import SHIPPED
from policies.encoders.static import StaticEncoder
from policies.errors import EncoderError
from tests.training.encoders.blurred_world import blurred_table, write_blurred
from training.encoders.static_table import StaticSource, read_static_table, static_directory

QUERIES = ["topic3 filler1", "nothing known", "filler2"]


def test_what_is_written_serves_the_same_vectors(tmp_path: Path) -> None:
    written = StaticEncoder.load(write_blurred(tmp_path / "encoder"))
    served = blurred_table().encoder().encode(QUERIES)
    np.testing.assert_array_equal(written.encode(QUERIES), served)
    assert written.version.startswith("static:blurred:")


def test_reading_and_writing_again_changes_no_vector(tmp_path: Path) -> None:
    first = read_static_table(write_blurred(tmp_path / "encoder"))
    (tmp_path / "again").mkdir()
    first.write(tmp_path / "again")
    second = read_static_table(tmp_path / "again")
    assert second.name == "blurred"
    np.testing.assert_array_equal(first.vectors, second.vectors)


def test_the_shipped_encoder_is_where_static_alone_points() -> None:
    assert static_directory("static") == SHIPPED
    assert static_directory("static:my/encoder") == Path("my/encoder")


def test_another_kind_of_encoder_is_refused() -> None:
    with pytest.raises(EncoderError, match="only a static encoder can be fine-tuned"):
        static_directory("onnx:model")


def test_the_licence_is_that_of_the_encoders_own_record(tmp_path: Path) -> None:
    assert StaticSource("mine", tmp_path).licence() == "unknown"
    record = {"source": {"licence": "apache-2.0"}}
    (tmp_path / "provenance.json").write_text(json.dumps(record))
    assert StaticSource("mine", tmp_path).licence() == "apache-2.0"
