"""Distilling a static encoder: what is served is what model2vec distilled.

Needs `pip install "adaptive-rag-router[distill]"`.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from policies.encoders import SHIPPED, load_encoder
from policies.encoders.static import StaticEncoder
from policies.errors import EncoderError
from training.encoders.distill import distill

pytestmark = [
    pytest.mark.encoders,
    pytest.mark.filterwarnings("ignore"),  # torch's and transformers' own deprecations
]

TEXTS = [
    "Where was the place of death of the director of film Madame Lu?",
    "who",
    "what is the a of",
    "Wo liegt Žilina? 東京はどこですか naïve café №5",
    "[UNK] and [PAD] as words, 😀 emoji",
    "",
    "where is the river bank " * 1250,  # 30,000 characters
]


@pytest.fixture
def library() -> None:
    pytest.importorskip("model2vec.distill", reason="needs the distill extra")


def test_shipped_vectors_equal_model2vecs_on_the_same_weights() -> None:
    model2vec = pytest.importorskip("model2vec", reason="needs model2vec")
    tensors = load_file(SHIPPED / "model.safetensors")
    static = model2vec.StaticModel(
        vectors=tensors["table"] * tensors["scale"],
        tokenizer=Tokenizer.from_file(str(SHIPPED / "tokenizer.json")),
        normalize=True,
    )
    expected = static.encode(TEXTS, max_length=None)
    np.testing.assert_allclose(load_encoder().encode(TEXTS), expected, atol=1e-5)


def test_shipped_vectors_equal_sentence_transformers_on_the_same_weights() -> None:
    library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    tensors = load_file(SHIPPED / "model.safetensors")
    static = modules.StaticEmbedding(
        Tokenizer.from_file(str(SHIPPED / "tokenizer.json")),
        embedding_weights=tensors["table"] * tensors["scale"],
    )
    expected = library.SentenceTransformer(modules=[static], device="cpu").encode(
        TEXTS, normalize_embeddings=True
    )
    np.testing.assert_allclose(load_encoder().encode(TEXTS), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("library")
def test_the_shipped_encoder_is_distilled_from_minilm(minilm: Path, tmp_path: Path) -> None:
    """Distilled again, every two texts are as similar as in the shipped encoder.

    Similarities, not vectors: the sign of a principal component is the linear algebra's choice.
    """
    source = "sentence-transformers/all-MiniLM-L6-v2"
    again = distill(str(minilm), tmp_path / "again", 256, name="minilm-l6-v2-256", source=source)
    rows = StaticEncoder.load(again.directory).encode(TEXTS)
    shipped_rows = load_encoder().encode(TEXTS)
    np.testing.assert_allclose(rows @ rows.T, shipped_rows @ shipped_rows.T, atol=2e-3)
    record = json.loads((again.directory / "provenance.json").read_text())
    shipped = json.loads((SHIPPED / "provenance.json").read_text())
    assert record["source"] == shipped["source"]
    assert record["settings"] == shipped["settings"]


@pytest.mark.usefixtures("library")
def test_what_is_written_serves_the_distilled_vectors(
    tiny_transformer: Path, tmp_path: Path
) -> None:
    result = distill(str(tiny_transformer), tmp_path / "encoder", 8, name="tiny")
    assert result.cosine > 0.9995
    encoder = load_encoder(f"static:{tmp_path / 'encoder'}")
    assert encoder.version == result.version
    assert result.version.startswith("static:tiny:")
    assert encoder.dimension == result.dimension == 8
    rows = encoder.encode(["who is the king", "zzz"])
    assert abs(np.linalg.norm(rows[0]) - 1) < 1e-6
    assert not rows[1].any()  # no word of it is in the vocabulary


@pytest.mark.usefixtures("library")
def test_more_dimensions_than_the_model_has_are_refused(
    tiny_transformer: Path, tmp_path: Path
) -> None:
    with pytest.raises(EncoderError, match="has 32 dimensions: 33"):
        distill(str(tiny_transformer), tmp_path / "encoder", 33)
    assert not (tmp_path / "encoder").exists()


@pytest.mark.usefixtures("library")
def test_a_table_that_serves_other_vectors_is_not_handed_over(
    tiny_transformer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scrambled(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return vectors.astype(np.int8)[::-1].copy(), np.ones((len(vectors), 1), np.float32)

    monkeypatch.setattr("training.encoders.distill.quantize_rows", scrambled)
    with pytest.raises(EncoderError, match="cosine of only"):
        distill(str(tiny_transformer), tmp_path / "encoder", 8)
    assert not (tmp_path / "encoder").exists()
