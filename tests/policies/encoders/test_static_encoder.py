"""The static encoder against its definition, and on text that tries to break it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from policies.encoders import SHIPPED
from policies.encoders.static import StaticEncoder
from policies.errors import EncoderError

# Every code point, lone surrogates among them.
ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=60)
QUERIES = [
    "Where was the place of death of the director of film Madame Lu?",
    "who",
    "Wo liegt Žilina?",
    "東京はどこですか",
    "naïve café №5",
    "x" * 300,
]


def by_definition(text: str) -> NDArray[np.float64]:
    """The direction of the sum of the shipped token vectors, in double precision."""
    tensors = load_file(SHIPPED / "model.safetensors")
    vectors = tensors["table"].astype(np.float64) * tensors["scale"]
    tokenizer = Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))
    total = vectors[tokenizer.encode(text, add_special_tokens=False).ids].sum(axis=0)
    length = np.linalg.norm(total)
    return total / length if length > 0 else total


def test_a_row_is_the_direction_of_the_sum_of_the_token_vectors(compass: Path) -> None:
    rows = StaticEncoder.load(compass).encode(["north", "east east", "north east"])
    np.testing.assert_allclose(rows[:2], [[1, 0], [0, 1]], atol=1e-7)
    np.testing.assert_allclose(rows[2], np.array([63.5, 1]) / np.hypot(63.5, 1), atol=1e-7)


def test_unknown_words_count_for_nothing(compass: Path) -> None:
    rows = StaticEncoder.load(compass).encode(["north elsewhere", "elsewhere"])
    np.testing.assert_array_equal(rows, [[1, 0], [0, 0]])


def test_padding_and_truncation_in_the_file_are_not_obeyed(compass: Path) -> None:
    row = StaticEncoder.load(compass).encode(["north north north east"])[0]
    np.testing.assert_allclose(row, np.array([190.5, 1]) / np.hypot(190.5, 1), atol=1e-7)


@pytest.mark.parametrize("text", QUERIES)
def test_shipped_vectors_follow_the_definition(shipped: StaticEncoder, text: str) -> None:
    np.testing.assert_allclose(shipped.encode([text])[0], by_definition(text), atol=1e-6)


@pytest.mark.parametrize("unit", ["where is the river ", "漢", "!?", "é "])
def test_a_query_of_30000_characters_is_read_to_its_end(shipped: StaticEncoder, unit: str) -> None:
    text = (unit * 30_000)[:29_990] + " volcano"
    row = shipped.encode([text])[0]
    np.testing.assert_allclose(row, by_definition(text), atol=1e-6)
    assert abs(np.linalg.norm(row) - 1) < 1e-6
    assert not np.array_equal(row, shipped.encode([text.removesuffix(" volcano")])[0])


@pytest.mark.parametrize("text", ["", " ", "\t\n ", "\u200b", "\x00", "\ud800"])
def test_a_text_without_a_token_gives_zeros(shipped: StaticEncoder, text: str) -> None:
    assert not shipped.encode([text]).any()


def test_no_texts_give_no_rows(shipped: StaticEncoder) -> None:
    assert shipped.encode([]).shape == (0, shipped.dimension)


def test_a_lone_surrogate_is_replaced_and_a_pair_joined(shipped: StaticEncoder) -> None:
    lone, replaced, pair, joined = shipped.encode(
        ["river \ud800 bank", "river \ufffd bank", "river \ud835\udc00", "river \U0001d400"]
    )
    np.testing.assert_array_equal(lone, replaced)
    np.testing.assert_array_equal(pair, joined)
    assert lone.any()
    assert pair.any()


@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=8))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_gives_a_finite_row_the_same_alone_and_in_a_batch(
    shipped: StaticEncoder, texts: list[str]
) -> None:
    rows = shipped.encode(texts)
    assert rows.shape == (len(texts), shipped.dimension)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    for text, row in zip(texts, rows, strict=True):
        assert row.tobytes() == shipped.encode([text])[0].tobytes()
        norm = float(np.linalg.norm(row))
        assert norm == 0 or abs(norm - 1) < 1e-5


def test_rows_past_the_first_step_are_the_same_as_alone(shipped: StaticEncoder) -> None:
    texts = [f"who was king number {number}?" for number in range(600)]
    rows = shipped.encode(texts)
    for number in (0, 255, 256, 599):
        assert rows[number].tobytes() == shipped.encode([texts[number]])[0].tobytes()


def test_threads_share_one_encoder(shipped: StaticEncoder) -> None:
    texts = QUERIES * 50
    expected = shipped.encode(texts)
    with ThreadPoolExecutor(8) as pool:
        for rows in pool.map(shipped.encode, [texts] * 16):
            np.testing.assert_array_equal(rows, expected)


def test_a_paraphrase_is_nearer_than_another_question(shipped: StaticEncoder) -> None:
    king, monarch, pipe = shipped.encode(
        ["who was the first king of France", "first French monarch", "how do I fix a leaking pipe"]
    )
    assert king @ monarch > king @ pipe


def test_the_version_names_the_content(compass: Path) -> None:
    before = StaticEncoder.load(compass).version
    file = compass / "model.safetensors"
    tensors = load_file(file)
    tensors["table"][1, 0] = 126
    save_file(tensors, file, metadata={"name": "compass"})
    after = StaticEncoder.load(compass).version
    assert before.startswith("static:compass:")
    assert before != after
    assert len(after.rsplit(":", 1)[1]) == 12


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(compass: Path, missing: str) -> None:
    (compass / missing).unlink()
    with pytest.raises(EncoderError, match=f"has no {missing}.*rag-policy encoder distill"):
        StaticEncoder.load(compass)


@pytest.mark.parametrize("broken", ["model.safetensors", "tokenizer.json"])
def test_an_unreadable_file_is_named(compass: Path, broken: str) -> None:
    (compass / broken).write_bytes(b"not what it should be")
    with pytest.raises(EncoderError, match=broken):
        StaticEncoder.load(compass)


def test_a_table_of_another_kind_is_refused(compass: Path) -> None:
    save_file({"embeddings": np.ones((3, 2), np.float32)}, compass / "model.safetensors")
    with pytest.raises(EncoderError, match="static encoder"):
        StaticEncoder.load(compass)


def test_a_table_of_floats_is_refused(compass: Path) -> None:
    tensors = {"table": np.ones((3, 2), np.float32), "scale": np.ones((3, 1), np.float32)}
    save_file(tensors, compass / "model.safetensors", metadata={"name": "compass"})
    with pytest.raises(EncoderError, match="isn't a static encoder's table"):
        StaticEncoder.load(compass)


def test_a_table_that_does_not_fit_its_tokenizer_is_refused(compass: Path) -> None:
    tensors = {"table": np.ones((2, 2), np.int8), "scale": np.ones((2, 1), np.float32)}
    save_file(tensors, compass / "model.safetensors", metadata={"name": "compass"})
    with pytest.raises(EncoderError, match="3 tokens.*has 2"):
        StaticEncoder.load(compass)
