"""The ONNX encoder around its session: texts in, unit rows out. The session is a stand-in here;
tests/training/encoders/test_export.py runs the real one.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from policies.encoders.onnx import OnnxConfig, OnnxEncoder
from policies.errors import EncoderError


class CountingSession:
    """Answers with (number of tokens, sum of their ids)."""

    def __init__(self) -> None:
        self.feeds: list[dict[str, NDArray[np.int64]]] = []

    def run(self, _: None, feed: dict[str, NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        self.feeds.append(feed)
        ids = feed["input_ids"][0]
        return [np.array([[len(ids), ids.sum()]], dtype=np.float32)]


def encoder(compass: Path, **settings: Any) -> tuple[OnnxEncoder, CountingSession]:
    config = OnnxConfig(name="compass", dimension=2, **settings)
    session = CountingSession()
    tokenizer = Tokenizer.from_file(str(compass / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return OnnxEncoder(config, "0123", session, tokenizer), session


def test_rows_have_norm_1_and_no_tokens_give_zeros(compass: Path) -> None:
    served, _ = encoder(compass, inputs=("input_ids",))
    rows = served.encode(["north east", ""])
    np.testing.assert_allclose(rows[0], np.array([2, 3]) / np.sqrt(13), atol=1e-7)
    assert not rows[1].any()


def test_the_graph_is_fed_what_it_takes_one_text_at_a_time(compass: Path) -> None:
    served, session = encoder(compass, inputs=("input_ids", "attention_mask"))
    served.encode(["north", "north east"])
    assert [feed["input_ids"].shape for feed in session.feeds] == [(1, 1), (1, 2)]
    assert all(set(feed) == {"input_ids", "attention_mask"} for feed in session.feeds)
    assert session.feeds[0]["input_ids"].dtype == np.int64


def test_the_prompt_precedes_every_text(compass: Path) -> None:
    served, session = encoder(compass, inputs=("input_ids",), prompt="north ")
    served.encode(["east"])
    assert session.feeds[0]["input_ids"].tolist() == [[1, 2]]


def test_the_version_names_kind_name_and_content(compass: Path) -> None:
    served, _ = encoder(compass, inputs=("input_ids",))
    assert served.version == "onnx:compass:0123"


def test_without_onnxruntime_the_extra_is_named(
    compass: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (compass / "encoder.json").write_text('{"name":"c","dimension":2,"inputs":["input_ids"]}')
    (compass / "model.onnx").touch()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EncoderError, match=r'pip install "adaptive-rag-router\[onnx\]"'):
        OnnxEncoder.load(compass)


def test_an_unknown_setting_is_refused(compass: Path) -> None:
    (compass / "encoder.json").write_text('{"name":"c","dimension":2,"inputs":[],"pool":"mean"}')
    (compass / "model.onnx").touch()
    with pytest.raises(EncoderError, match="encoder.json.*pool"):
        OnnxEncoder.load(compass)
