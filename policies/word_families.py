"""Families of words that tell what a question is about."""

import re
from string import ascii_lowercase
from typing import NamedTuple

# Every byte that isn't a small letter, as a blank.
_LETTERS_ALONE = bytes(b if chr(b) in ascii_lowercase else 32 for b in range(256))


class Family(NamedTuple):
    """A family of words, and the first words of its members.

    It is looked for only where one of those stands: sets are ten times cheaper than alternations of
    thirty words, and a query mostly has none of them. In ASCII text in lower case, where no case
    need be ignored, `in_lower_ascii` finds the same four times as fast.
    """

    pattern: re.Pattern[str]
    in_lower_ascii: re.Pattern[str]
    first_words: frozenset[bytes]

    @classmethod
    def of(cls, alternatives: str, first_words: str) -> "Family":
        """A family by its pattern's alternatives, between word boundaries."""
        bounded = rf"\b(?:{alternatives})\b"
        cues = frozenset(first_words.encode().split())
        return cls(re.compile(bounded, re.IGNORECASE), re.compile(bounded, re.ASCII), cues)


TIME_SENSITIVE = Family.of(
    r"today|tonight|yesterday|tomorrow|current|currently|latest|newest|recent|recently|now|"
    r"this (?:week|month|quarter|year)|last (?:week|month|quarter|year)|as of|up[- ]to[- ]date|"
    r"still|upcoming|breaking|price|stock|weather|score|news|version|release|deadline|status",
    "today tonight yesterday tomorrow current currently latest newest recent recently now this "
    "last as up still upcoming breaking price stock weather score news version release deadline "
    "status",
)
STYLE = Family.of(
    r"write|rewrite|rephrase|draft|compose|summari[sz]e|translate|shorten|proofread|polish|"
    r"tone|style|format|formal|informal|friendly|polite|bullet|bullets|json|yaml|markdown|table|"
    r"email|letter|slogan|poem|in the voice of|as a list|one sentence",
    "write rewrite rephrase draft compose summarise summarize translate shorten proofread polish "
    "tone style format formal informal friendly polite bullet bullets json yaml markdown table "
    "email letter slogan poem in as one",
)
SOURCES = Family.of(
    r"source|sources|cite|citation|reference|according to|policy|contract|clause|section|"
    r"regulation|manual|documentation|docs|handbook|report|paper|study",
    "source sources cite citation reference according policy contract clause section regulation "
    "manual documentation docs handbook report paper study",
)
COMPARISON = Family.of(
    r"compare|versus|vs|difference|older|younger|taller|larger|smaller|better|earlier|later|"
    r"more|less|fewer|same|both|between",
    "compare versus vs difference older younger taller larger smaller better earlier later more "
    "less fewer same both between",
)
BRIDGE = Family.of(
    r"whose|of the \w+ (?:that|who|which)|(?:that|who|which) (?:was|were|is|did|has|had)|"
    r"father|mother|wife|husband|spouse|director|performer|composer|author|founder",
    "whose that who which father mother wife husband spouse director performer composer author "
    "founder",
)

FAMILIES = (TIME_SENSITIVE, STYLE, SOURCES, COMPARISON, BRIDGE)

_FIRST_WORDS: frozenset[bytes] = frozenset().union(*(family.first_words for family in FAMILIES))
# By first word the places in FAMILIES of those that it may begin a member of.
FAMILIES_BY_CUE = {
    word: [place for place, family in enumerate(FAMILIES) if word in family.first_words]
    for word in _FIRST_WORDS
}


def first_words_in(letters: bytes) -> frozenset[bytes]:
    """The first words of any family among ASCII letters in lower case."""
    return _FIRST_WORDS.intersection(letters.translate(_LETTERS_ALONE).split())
