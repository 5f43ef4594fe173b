"""Finding the model that an encoder is made from."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from policies.errors import EncoderError
from training.encoders.source import find_source


@pytest.fixture
def local(tmp_path: Path) -> Path:
    directory = tmp_path / "my-model"
    (directory / "2_Dense").mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(b"weights")
    (directory / "2_Dense" / "model.safetensors").write_bytes(b"more")
    return directory


def test_a_directory_is_named_after_itself_or_as_told(local: Path) -> None:
    assert find_source(str(local), None, "distill").name == "my-model"
    assert find_source(str(local), "team/model", "distill").name == "team/model"


def test_every_weights_file_is_hashed(local: Path) -> None:
    assert find_source(str(local), None, "distill").weights_sha256() == {
        "2_Dense/model.safetensors": hashlib.sha256(b"more").hexdigest(),
        "model.safetensors": hashlib.sha256(b"weights").hexdigest(),
    }


def test_the_licence_is_the_model_cards(local: Path) -> None:
    assert find_source(str(local), None, "distill").licence() == "unknown"
    (local / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n")
    assert find_source(str(local), None, "distill").licence() == "apache-2.0"


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"has no config\.json"):
        find_source(str(tmp_path), None, "distill")


def test_without_the_hubs_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(EncoderError, match=r'pip install "adaptive-rag-router\[distill\]"'):
        find_source("team/model", None, "distill")


def test_a_model_that_the_hub_cannot_give_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> str:
        raise OSError("no such repository")

    hub = ModuleType("huggingface_hub")
    hub.snapshot_download = refuse  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(EncoderError, match="hub didn't give it .no such repository"):
        find_source("team/model", None, "distill")
