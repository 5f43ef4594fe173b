"""Cheap features of a question: what can be read off its words without a model.

Each is a number in 0..1, so that one regularisation suits them all and a person can read them.
"""

import math
import re
from collections.abc import Sequence
from string import digits

from policies.query import ascii_words
from policies.word_families import FAMILIES, FAMILIES_BY_CUE, cues_among, cues_in

# Long queries are prompts with pasted text; what they ask stands at one of their ends.
_HEAD, _TAIL = 1_500, 500

_WORDS = re.compile(r"\w+(?:['’]\w+)?")
_ASCII_WORDS = re.compile(rb"\w+(?:'\w+)?")
# What must stand before a name's first letter is asked after it: a search for letters is quicker.
_CAPITAL = r"[^\W\d_a-z]"
_NAMES = re.compile(
    rf"{_CAPITAL}(?<=\b.)(?<![.!?]\s.)(?<!^.)\w+(?:\s+(?:of|the|de|von)?\s*{_CAPITAL}\w+)*",
    re.DOTALL,
)
_YEAR = re.compile(r"\b(?:1[5-9]|20)\d\d\b")
_ARITHMETIC = re.compile(
    r"\d\s*(?:[-+*/×÷^%]|plus|minus|times|divided by)\s*\d"
    r"|\b(?:calculate|compute|square root|percent of|how much is|what is \d)",
    re.IGNORECASE,
)
_CODE = re.compile(r"```|\bdef \w+\(|\bSELECT\b.+\bFROM\b|[{};]\s*$|</\w+>", re.MULTILINE)

# The letters that patterns that ignore case take for ASCII ones.
_LIKE_ASCII = str.maketrans({"İ": "i", "ı": "i", "ſ": "s", "\u212a": "k"})
# Parts of words too: its pattern finds "compute" in "computer".
_ARITHMETIC_CUES = ("calculate", "compute", "square", "percent", "much is")
_CODE_CUES = ("`", "{", "}", ";", "</", "def ", "SELECT")
_OPENINGS = ("who", "what", "when", "where", "which", "how", "why")
_YES_NO = frozenset(b"is are was were do does did can could has have should will".split())

_DIGITS = digits.encode()

QUESTION_FEATURES: tuple[str, ...] = (
    "length",
    "names",
    "digits",
    "year",
    "quoted",
    "time_sensitive",
    "style",
    "asks_sources",
    "arithmetic",
    "comparison",
    "bridge",
    "code",
    "non_ascii",
    "question_mark",
    *(f"asks_{word}" for word in _OPENINGS),
    "asks_yes_no",
)

_ASKED = {word.encode(): [float(word == other) for other in _OPENINGS] for word in _OPENINGS}
_NO_SHARES = (0.0,) * len(FAMILIES)
_ASKED_NOTHING = [0.0] * len(_OPENINGS)


def question_features(text: str) -> list[float]:
    """The features of one question, in the order of QUESTION_FEATURES, each in 0..1."""
    if len(text) > _HEAD + _TAIL:
        text = f"{text[:_HEAD]} {text[-_TAIL:]}"
    ascii_only = text.isascii()
    lowered = (text if ascii_only else text.translate(_LIKE_ASCII)).lower()
    letters = lowered.encode("ascii", "replace")
    words = _words(letters) if ascii_only else _words_of_any(text)
    count = _digits(letters) if ascii_only else sum(character.isdigit() for character in text)
    time_sensitive, style, sources, comparison, bridge = (
        _family_shares(lowered, ascii_words(letters) if b"'" in letters else words)
        if ascii_only
        else _family_shares_of_any(text, letters)
    )
    return [  # a plain list, made in one go: this runs for every decision
        min(math.log1p(len(words)) / 6.0, 1.0),
        _share(len(_NAMES.findall(text)), 4),
        _share(count, 8),
        float(count > 0 and _YEAR.search(text) is not None),
        float('"' in text or "“" in text),
        time_sensitive,
        style,
        sources,
        float(_has_arithmetic(text, lowered, count)),
        comparison,
        bridge,
        float(_contains(text, _CODE_CUES) and _CODE.search(text) is not None),
        0.0 if ascii_only else 1.0,
        float("?" in text),
        *_asked(words[:6]),
        float(bool(words) and words[0] in _YES_NO),
    ]


def _family_shares(lowered: str, words: Sequence[bytes]) -> Sequence[float]:
    """Each family's share of ASCII text in lower case."""
    cues = cues_among(words)
    if not cues:
        return _NO_SHARES
    shares = list(_NO_SHARES)
    for family in {family for cue in cues for family in FAMILIES_BY_CUE[cue]}:
        shares[family] = _share(FAMILIES[family].times_in(lowered, words, cues), 2)
    return shares


def _family_shares_of_any(text: str, letters: bytes) -> Sequence[float]:
    """Each family's share of any text, whose ASCII part in lower case is `letters`."""
    shares = list(_NO_SHARES)
    for family in {family for cue in cues_in(letters) for family in FAMILIES_BY_CUE[cue]}:
        shares[family] = _share(len(FAMILIES[family].pattern.findall(text)), 2)
    return shares


def _words(letters: bytes) -> list[bytes]:
    """The words of ASCII text in lower case."""
    return _ASCII_WORDS.findall(letters) if b"'" in letters else ascii_words(letters)


def _words_of_any(text: str) -> list[bytes]:
    words = _WORDS.findall(text)
    # Only the opening words are compared with any.
    return [word.casefold().encode("utf-8", "replace") for word in words]


def _digits(letters: bytes) -> int:
    return len(letters) - len(letters.translate(None, _DIGITS))


def _has_arithmetic(text: str, lowered: str, numbers: int) -> bool:
    if numbers == 0 and not _contains(lowered, _ARITHMETIC_CUES):
        return False
    return _ARITHMETIC.search(text) is not None


def _contains(text: str, cues: tuple[str, ...]) -> bool:
    for cue in cues:  # noqa: SIM110 - any() costs more than the search
        if cue in text:
            return True
    return False


def _asked(opening: list[bytes]) -> list[float]:
    for word, row in _ASKED.items():
        if word in opening:
            return row
    return _ASKED_NOTHING


def _share(count: int, enough: int) -> float:
    return min(count / enough, 1.0)
