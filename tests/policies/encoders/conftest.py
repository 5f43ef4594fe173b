"""The shipped encoder, and one small enough to check by hand."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from policies.encoders import SHIPPED
from policies.encoders.static import StaticEncoder

WORDS = {"[UNK]": 0, "north": 1, "east": 2}


@pytest.fixture(scope="session")
def shipped() -> StaticEncoder:
    return StaticEncoder.load(SHIPPED)


@pytest.fixture
def compass(tmp_path: Path) -> Path:
    """Two words, at (127, 0) * 0.5 and (0, 100) * 0.01."""
    table = np.array([[0, 0], [127, 0], [0, 100]], dtype=np.int8)
    scale = np.array([[0.0], [0.5], [0.01]], dtype=np.float32)
    directory = tmp_path / "compass"
    directory.mkdir()
    save_file(
        {"table": table, "scale": scale},
        directory / "model.safetensors",
        metadata={"name": "compass"},
    )
    tokenizer = Tokenizer(WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_padding(length=8)  # a file may ask for it; the encoder must not obey
    tokenizer.enable_truncation(2)
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory
