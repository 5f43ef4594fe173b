"""A query's limits, its hash, and what the log may hold of it."""

import re
import time
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import QueryError
from policies.query import MAX_QUERY_CHARS, check_query, loggable_text, query_hash


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u2003"])
def test_a_blank_query_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="blank"):
        check_query(text)


def test_the_longest_query_is_taken_and_a_longer_one_refused() -> None:
    assert check_query("x" * MAX_QUERY_CHARS)
    with pytest.raises(QueryError, match="32,769"):
        check_query("x" * (MAX_QUERY_CHARS + 1))


@pytest.mark.parametrize("variant", ["who wrote emma", "WHO wrote  Emma?!", " Who wrote Emma. "])
def test_near_duplicates_share_a_hash(variant: str) -> None:
    assert query_hash(variant) == query_hash("Who wrote Emma?")


def test_other_words_or_only_symbols_differ() -> None:
    hashes = {query_hash(text) for text in ("Who wrote Emma?", "Who read Emma?", "??", "?!", "🙂")}
    assert len(hashes) == 5


@given(st.text(max_size=200))
def test_any_text_has_a_hash_of_16_hex_digits(text: str) -> None:
    assert len(query_hash(text)) == 16
    int(query_hash(text), 16)


@given(st.one_of(st.text(max_size=80), st.text(st.characters(max_codepoint=127), max_size=80)))
def test_a_hash_is_of_the_folded_words_whatever_the_alphabet(text: str) -> None:
    """Stored logs and Bloom filters hold such hashes."""
    words = re.findall(r"\w+", text.casefold())
    normal = " ".join(words) if words else re.sub(r"\s+", " ", text.strip())
    assert query_hash(text) == blake2b(normal.encode(), digest_size=8).hexdigest()


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("mail jane.doe+x@example.co.uk now", "mail <email> now"),
        ("see https://intra.example.com/a?b=c please", "see <url> please"),
        ("call +49 (170) 123-45.67", "call <number>"),
        ("card 4111 1111 1111 1111.", "card <number>."),
        ("key sk-abcdef0123456789", "key <secret>"),
        ("send Bearer abc.def-123", "send <secret>"),
        ("token eyJhbGciOi.eyJzdWIi.c2lnbg", "token <secret>"),
        ("id AKIAIOSFODNN7EXAMPLE", "id <secret>"),
        ("root@localhost", "<email>"),
        ("in 2019 with 12 people", "in 2019 with 12 people"),
    ],
)
def test_redaction_takes_out_what_identifies(text: str, redacted: str) -> None:
    assert loggable_text(text, "redacted") == redacted
    assert loggable_text(text, "full") == text
    assert loggable_text(text, "none") is None


@pytest.mark.parametrize("unit", ["a", "1", "1 ", "a.", "a@", "(", "+1", "a-", "http:", "eyJ."])
def test_redaction_takes_time_in_proportion_to_the_text(unit: str) -> None:
    """A quadratic search of the longest query takes seconds; a linear one, milliseconds."""
    hostile = (unit * MAX_QUERY_CHARS)[: MAX_QUERY_CHARS - 1] + "!"
    began = time.perf_counter()
    loggable_text(hostile, "redacted")
    assert time.perf_counter() - began < 0.5
