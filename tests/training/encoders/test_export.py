"""Exporting to ONNX: what is served equals what the library computes.

Needs `pip install "adaptive-rag-router[encoders]"`.
"""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.encoders import load_encoder
from policies.encoders.onnx import OnnxEncoder
from policies.errors import EncoderError
from training.encoders.export import export_onnx

pytestmark = [
    pytest.mark.encoders,
    pytest.mark.filterwarnings("ignore"),  # torch's and transformers' own deprecations
]

PLACES = ["Žilina", "東京", "Αθήνα", "القاهرة", "São Paulo", "Zürich", "Ivory Coast", "no. 7 & co"]
TEXTS = [
    "",
    " ",
    "a",
    "?!",
    "😀 emoji",
    "\ud800 lone",
    "x" * 300,
    "naïve café №5\tand\na line",
    *(f"Where is {place}, and who was born there?" for place in PLACES),
    *(f"who was king number {number} of the realm " * (1 + number) for number in range(32)),
    "where is the river bank " * 1250,  # 30,000 characters: cut at the model's 256 tokens
    "漢" * 30_000,
]


@pytest.fixture(scope="module")
def libraries() -> Any:
    for module in ("torch", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="needs the encoders extra")
    return pytest.importorskip("sentence_transformers", reason="needs the encoders extra")


@pytest.fixture(scope="module")
def modules(libraries: Any) -> Any:
    return pytest.importorskip("sentence_transformers.sentence_transformer.modules")


@pytest.fixture(scope="module")
def exported(libraries: Any, minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("onnx") / "minilm"
    export_onnx(str(minilm), to, source="sentence-transformers/all-MiniLM-L6-v2")
    return to


@pytest.fixture(scope="module")
def served(exported: Path) -> OnnxEncoder:
    return OnnxEncoder.load(exported)


def library_vectors(libraries: Any, model: Path, texts: list[str]) -> np.ndarray:
    """What the library gives, text by text, on the text as the encoder reads it."""
    clean = [text.replace("\ud800", "\ufffd") for text in texts]
    library = libraries.SentenceTransformer(str(model), device="cpu")
    return np.asarray(library.encode(clean, normalize_embeddings=True, batch_size=1))


def test_minilm_is_served_as_the_library_computes_it(
    libraries: Any, minilm: Path, served: OnnxEncoder
) -> None:
    expected = library_vectors(libraries, minilm, TEXTS)
    np.testing.assert_allclose(served.encode(TEXTS), expected, atol=1e-5)


def test_a_row_does_not_depend_on_its_neighbours(served: OnnxEncoder) -> None:
    rows = served.encode(TEXTS)
    for text, row in zip(TEXTS, rows, strict=True):
        assert row.tobytes() == served.encode([text])[0].tobytes()
    assert served.encode([]).shape == (0, 384)


def test_threads_share_one_encoder(served: OnnxEncoder) -> None:
    texts = TEXTS[:20]
    expected = served.encode(texts)
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(served.encode, [texts] * 8):
            np.testing.assert_array_equal(rows, expected)


def test_the_specification_and_version_name_the_export(exported: Path) -> None:
    encoder = load_encoder(f"onnx:{exported}")
    assert encoder.version.startswith("onnx:all-minilm-l6-v2:")
    assert encoder.dimension == 384
    record = json.loads((exported / "provenance.json").read_text())
    assert record["source"]["licence"] == "apache-2.0"
    assert set(record["files"]) == {"model.onnx", "tokenizer.json", "encoder.json"}


@pytest.mark.parametrize("mode", ["mean", "cls", "max", ("mean", "max")])
def test_every_pooling_is_reproduced(
    libraries: Any,
    modules: Any,
    sentence_model: Callable[..., Path],
    tmp_path: Path,
    mode: str | tuple[str, ...],
) -> None:
    model = sentence_model(modules.Pooling(32, pooling_mode=mode))
    result = export_onnx(str(model), tmp_path / "onnx")
    assert result.max_tokens == 16
    texts = ["", "who is the king", "where is the river bank " * 10]
    np.testing.assert_allclose(
        OnnxEncoder.load(tmp_path / "onnx").encode(texts),
        library_vectors(libraries, model, texts),
        atol=1e-5,
    )


def test_a_dense_layer_and_a_prompt_are_reproduced(
    libraries: Any, modules: Any, sentence_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = sentence_model(
        modules.Pooling(32, pooling_mode="mean"),
        modules.Dense(32, 12),
        modules.Normalize(),
        prompts={"query": "who is "},
        default_prompt_name="query",
    )
    export_onnx(str(model), tmp_path / "onnx")
    encoder = OnnxEncoder.load(tmp_path / "onnx")
    assert encoder.dimension == 12
    texts = ["king of the river", ""]
    expected = library_vectors(libraries, model, texts)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)


def test_a_prompt_left_out_of_pooling_is_refused(
    modules: Any, sentence_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = sentence_model(
        modules.Pooling(32, pooling_mode="mean", include_prompt=False),
        prompts={"query": "who is "},
        default_prompt_name="query",
    )
    with pytest.raises(EncoderError, match="prompt's tokens out of pooling"):
        export_onnx(str(model), tmp_path / "onnx")


def test_a_module_that_needs_more_than_tokens_is_refused(
    modules: Any, sentence_model: Callable[..., Path], tmp_path: Path
) -> None:
    weights = modules.WordWeights(vocab=["the", "king"], word_weights={"king": 2.0})
    model = sentence_model(weights, modules.Pooling(32, pooling_mode="mean"))
    with pytest.raises(EncoderError, match="Transformer → WordWeights → Pooling"):
        export_onnx(str(model), tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


def test_an_export_that_computes_something_else_is_not_handed_over(
    modules: Any,
    sentence_model: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = sentence_model(modules.Pooling(32, pooling_mode="mean"))
    monkeypatch.setattr("training.encoders.export._TOLERANCE", -1.0)
    with pytest.raises(EncoderError, match="differ from the library's"):
        export_onnx(str(model), tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


@pytest.mark.parametrize("missing", ["model.onnx", "tokenizer.json", "encoder.json"])
def test_a_missing_file_is_named(exported: Path, tmp_path: Path, missing: str) -> None:
    for file in exported.iterdir():
        if file.name != missing:
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(EncoderError, match=f"has no {missing}.*rag-policy encoder export"):
        OnnxEncoder.load(tmp_path)


@pytest.mark.parametrize("broken", ["model.onnx", "tokenizer.json", "encoder.json"])
def test_an_unreadable_file_is_named(exported: Path, tmp_path: Path, broken: str) -> None:
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    (tmp_path / broken).write_bytes(b"{}")
    with pytest.raises(EncoderError, match=broken):
        OnnxEncoder.load(tmp_path)
