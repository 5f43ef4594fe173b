"""Families of words that tell what a question is about."""

import re
from collections.abc import Iterable, Sequence
from string import ascii_lowercase
from typing import NamedTuple

# Every byte that isn't a small letter, as a blank.
_LETTERS_ALONE = bytes(b if chr(b) in ascii_lowercase else 32 for b in range(256))


class Family(NamedTuple):
    """A family of words and phrases, and the words that tell where to look for them.

    `words` are its members of one word, `openings` words of which one is in each of its phrases.
    It is looked for only where one of those stands: sets are ten times cheaper than alternations of
    thirty words, and a query mostly has none of them. In ASCII text in lower case, where no case
    need be ignored, `in_lower_ascii` finds the same four times as fast.
    """

    pattern: re.Pattern[str]
    in_lower_ascii: re.Pattern[str]
    words: frozenset[bytes]
    openings: frozenset[bytes]

    @classmethod
    def of(cls, alternatives: str, words: str, openings: str = "") -> "Family":
        """A family by its pattern's alternatives, between word boundaries."""
        bounded = rf"\b(?:{alternatives})\b"
        return cls(
            re.compile(bounded, re.IGNORECASE),
            re.compile(bounded, re.ASCII),
            frozenset(words.encode().split()),
            frozenset(openings.encode().split()),
        )

    def times_in(self, lowered: str, words: Sequence[bytes], cues: frozenset[bytes]) -> int:
        """How often it stands in ASCII text in lower case with these words; `cues` are those of the
        words that belong to any family.
        """
        if cues.isdisjoint(self.openings):
            return sum([words.count(cue) for cue in cues & self.words])
        return len(self.in_lower_ascii.findall(lowered))


TIME_SENSITIVE = Family.of(
    r"today|tonight|yesterday|tomorrow|current|currently|latest|newest|recent|recently|now|"
    r"this (?:week|month|quarter|year)|last (?:week|month|quarter|year)|as of|up[- ]to[- ]date|"
    r"still|upcoming|breaking|price|stock|weather|score|news|version|release|deadline|status",
    "today tonight yesterday tomorrow current currently latest newest recent recently now still "
    "upcoming breaking price stock weather score news version release deadline status",
    "this last as up",
)
STYLE = Family.of(
    r"write|rewrite|rephrase|draft|compose|summari[sz]e|translate|shorten|proofread|polish|"
    r"tone|style|format|formal|informal|friendly|polite|bullet|bullets|json|yaml|markdown|table|"
    r"email|letter|slogan|poem|in the voice of|as a list|one sentence",
    "write rewrite rephrase draft compose summarise summarize translate shorten proofread polish "
    "tone style format formal informal friendly polite bullet bullets json yaml markdown table "
    "email letter slogan poem",
    "in as one",
)
SOURCES = Family.of(
    r"source|sources|cite|citation|reference|according to|policy|contract|clause|section|"
    r"regulation|manual|documentation|docs|handbook|report|paper|study",
    "source sources cite citation reference policy contract clause section regulation manual "
    "documentation docs handbook report paper study",
    "according",
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
    "whose father mother wife husband spouse director performer composer author founder",
    "that who which",
)

FAMILIES = (TIME_SENSITIVE, STYLE, SOURCES, COMPARISON, BRIDGE)

_CUES: frozenset[bytes] = frozenset().union(*(f.words | f.openings for f in FAMILIES))
# By cue the places of its families in FAMILIES.
FAMILIES_BY_CUE = {
    cue: [place for place, family in enumerate(FAMILIES) if cue in family.words | family.openings]
    for cue in _CUES
}


def cues_among(words: Iterable[bytes]) -> frozenset[bytes]:
    """Those of the words, in lower case, that belong to any family."""
    return _CUES.intersection(words)


def cues_in(letters: bytes) -> frozenset[bytes]:
    """Those among runs of ASCII letters in lower case."""
    return cues_among(letters.translate(_LETTERS_ALONE).split())
