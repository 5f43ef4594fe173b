"""An encoder's directory appears whole, or not at all."""

from pathlib import Path

import pytest

from policies.errors import EncoderError
from training.encoders.target import new_directory, size_of


def test_the_directory_appears_when_the_block_ends(tmp_path: Path) -> None:
    to = tmp_path / "deep" / "encoder"
    with new_directory(to) as staging:
        (staging / "model").write_bytes(b"12345")
        assert not to.exists()
    assert (to / "model").read_bytes() == b"12345"
    assert size_of(to) == 5
    assert [entry.name for entry in to.parent.iterdir()] == ["encoder"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(to: Path) -> None:
        with new_directory(to) as staging:
            (staging / "model").touch()
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail(tmp_path / "encoder")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_directory_may_be_named(tmp_path: Path) -> None:
    with new_directory(tmp_path) as staging:
        (staging / "model").touch()
    assert (tmp_path / "model").exists()


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("kept")
    with pytest.raises(EncoderError, match="isn't empty"), new_directory(tmp_path):
        pass
    assert (tmp_path / "model").read_text() == "kept"
