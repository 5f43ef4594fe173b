"""Token ids by words are the tokenizer's own, or left to the tokenizer."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, Whitespace

from policies.encoders import SHIPPED, plain_words
from policies.encoders.plain_words import PlainWords, words_of

VOCABULARY = {"[UNK]": 0, "[PAD]": 1, "New": 2, "new": 3, "##s": 4, "!": 5}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))


@pytest.fixture(scope="module")
def words(tokenizer: Tokenizer) -> PlainWords:
    found = words_of(tokenizer)
    assert found is not None
    return found


def by_tokenizer(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def small(*, lowercase: bool = True) -> Tokenizer:
    tokenizer = Tokenizer(WordPiece(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


ASCII = st.text(alphabet=st.characters(max_codepoint=127), max_size=80)
PRINTABLE = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=80)
ODD = [*" ?!-\n\t\x00\x7f", "[UNK]", "[pad]", "[PAD]", "x" * 100, "x" * 101, "##s", "a_b", "café"]
PIECES = st.lists(
    st.sampled_from([*ODD, "Who", "don't", "zzqj", "1998", "3.14", "'s"]), max_size=14
)


@given(text=st.one_of(ASCII, PRINTABLE, PIECES.map("".join), st.text(max_size=40)))
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_ids_are_the_tokenizers_the_first_time_and_again(
    tokenizer: Tokenizer, words: PlainWords, text: str
) -> None:
    for _ in range(2):
        found = words.ids(text)
        assert found is None or found == by_tokenizer(tokenizer, text)


@pytest.mark.parametrize("text", ["", " ", "Who wrote Emma?", "a line\nand another", "x" * 2_000])
def test_plain_text_is_not_left_to_the_tokenizer(
    tokenizer: Tokenizer, words: PlainWords, text: str
) -> None:
    assert words.ids(text) == by_tokenizer(tokenizer, text)


@pytest.mark.parametrize(
    "text", ["café", "a\x00b", "a\tb", "say [UNK] twice", "[pad]", "word " * 401, "\ud800"]
)
def test_text_that_is_not_plain_is_left_to_the_tokenizer(words: PlainWords, text: str) -> None:
    assert words.ids(text) is None


def test_a_tokenizer_that_keeps_case_is_asked_about_each_spelling() -> None:
    cased = small(lowercase=False)
    words = words_of(cased)
    assert words is not None
    assert words.ids("New news!") == by_tokenizer(cased, "New news!") == [2, 3, 4, 5]


def test_another_kind_of_tokenizer_has_no_plain_words() -> None:
    words = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    assert words_of(words) is None


def test_a_token_that_is_looked_for_in_normalised_text_rules_plain_words_out() -> None:
    tokenizer = small()
    assert words_of(tokenizer) is not None
    tokenizer.add_tokens([AddedToken("né", normalized=True)])  # it is found in "ne", too
    assert words_of(tokenizer) is None


def test_what_is_remembered_is_bounded(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_words, "_MOST_WORDS", 10)
    words = PlainWords(tokenizer, [], lowercase=True)
    for number in range(100):
        text = f"question {number} of {number + 1} {'y' * 40}"
        assert words.ids(text) == by_tokenizer(tokenizer, text)
        assert len(words._ids) <= 10
        assert max(map(len, words._ids)) <= 32


def test_threads_share_the_words(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_words, "_MOST_WORDS", 50)
    words = PlainWords(tokenizer, [], lowercase=True)
    texts = [f"is item{number % 80} older than item{number % 7}?" for number in range(2_000)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(words.ids, texts))
    assert found == [by_tokenizer(tokenizer, text) for text in texts]
