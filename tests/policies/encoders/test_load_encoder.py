"""Which specification loads which encoder, and what loading one brings along."""

import subprocess
import sys
from pathlib import Path

import pytest

from policies.encoders import load_encoder
from policies.errors import EncoderError


def test_static_alone_is_the_shipped_encoder() -> None:
    assert load_encoder().version == load_encoder("static").version
    assert load_encoder().version.startswith("static:minilm-l6-v2-256:")


def test_static_with_a_path_is_that_directory(compass: Path) -> None:
    encoder = load_encoder(f"static:{compass}")
    assert encoder.version.startswith("static:compass:")
    assert encoder.dimension == 2


@pytest.mark.parametrize(
    "spec", ["sentence-transformers/all-MiniLM-L6-v2", "", "static:", "onnx", "onnx:", "torch:x"]
)
def test_any_other_specification_says_which_command_to_run(spec: str) -> None:
    with pytest.raises(EncoderError, match="rag-policy encoder export --model"):
        load_encoder(spec)


@pytest.mark.parametrize("kind", ["static", "onnx"])
def test_a_directory_that_is_not_there_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="rag-policy encoder"):
        load_encoder(f"{kind}:{tmp_path / 'nowhere'}")


def test_importing_loads_no_encoder_library() -> None:
    """numpy aside, `import policies.encoders` is free; a loaded static encoder needs no torch."""
    code = """
import sys
heavy = {"torch", "onnxruntime", "sentence_transformers", "transformers", "model2vec", "sklearn"}
import policies.encoders
assert not (heavy | {"tokenizers", "safetensors"}) & set(sys.modules), sys.modules
policies.encoders.load_encoder().encode(["a query"])
assert not heavy & set(sys.modules), sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
