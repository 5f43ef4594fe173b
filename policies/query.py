"""A query's text: its limits, its hash, and how much of it may be logged."""

import re
from collections.abc import Sequence
from hashlib import blake2b
from string import ascii_lowercase, digits

from policies.errors import QueryError
from policies.events import TextPolicy

MAX_QUERY_CHARS = 32_768

_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"\w+")
# For ASCII text in lower case, as bytes: every byte that is no part of a word, as a blank.
_WORDS_ALONE = bytes(b if chr(b) in ascii_lowercase + digits + "_" else 32 for b in range(256))
# What redaction takes out. Order matters: addresses before bare numbers.
_REDACTIONS: Sequence[tuple[re.Pattern[str], str]] = (
    # The lookbehind keeps the search linear: without it every character could begin an address.
    (re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*"), "<email>"),
    (re.compile(r"\b(?:https?://|www\.)\S+", re.IGNORECASE), "<url>"),
    (re.compile(r"\bBearer\s+[\w.~+/-]+=*", re.IGNORECASE), "<secret>"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "<secret>"),
    (re.compile(r"\b(?:(?:sk|pk|ghp|xox[abp])[-_][\w-]{8,}|AKIA[0-9A-Z]{16})"), "<secret>"),
    (re.compile(r"(?<!\w)\+?\d(?:[\s().-]{0,3}\d){6,}(?!\w)"), "<number>"),
)


def check_query(text: str, *, field: str = "query") -> str:
    """The query as it is, or QueryError when it is blank or longer than MAX_QUERY_CHARS."""
    if len(text) > MAX_QUERY_CHARS:
        raise QueryError(
            f"the query has {len(text):,} characters; at most {MAX_QUERY_CHARS:,} are taken",
            field=field,
        )
    if not text.strip():
        raise QueryError("the query is blank", field=field)
    return text


def query_hash(text: str) -> str:
    """A 16-digit BLAKE2b of the query, equal for near-duplicates (case, spaces, punctuation).

    It groups rows into folds. It isn't a secret: short queries can be guessed back from it.
    """
    return blake2b(_normal(text), digest_size=8).hexdigest()


def _normal(text: str) -> bytes:
    if text.isascii() and (words := ascii_words(text.lower().encode())):
        return b" ".join(words)  # as below, four times as fast
    folded = _WORD.findall(text.casefold())
    normal = " ".join(folded) if folded else _SPACES.sub(" ", text.strip())
    return normal.encode("utf-8", "replace")


def ascii_words(lowered: bytes) -> list[bytes]:
    """The words of ASCII text in lower case: runs of letters, digits and underscores."""
    return lowered.translate(_WORDS_ALONE).split()


def loggable_text(text: str | None, policy: TextPolicy) -> str | None:
    """What of a text the log may hold.

    "full": all of it; "redacted": all but addresses, links, keys and long numbers; "none": nothing.
    """
    if policy == "none" or text is None:
        return None
    if policy == "full":
        return text
    for pattern, replacement in _REDACTIONS:
        text = pattern.sub(replacement, text)
    return text
