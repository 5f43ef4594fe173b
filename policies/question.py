"""Cheap features of a question: what can be read off its words without a model.

Each is a number in 0..1, so that one regularisation suits them all and a person can read them.
"""

import math
import re

# Long queries are prompts with pasted text; what they ask stands at one of their ends.
_HEAD, _TAIL = 1_500, 500

_WORDS = re.compile(r"\w+(?:['’]\w+)?")
_NAMES = re.compile(
    r"(?<![.!?]\s)(?<!^)\b[^\W\d_a-z]\w+(?:\s+(?:of|the|de|von)?\s*[^\W\d_a-z]\w+)*"
)
_YEAR = re.compile(r"\b(?:1[5-9]|20)\d\d\b")
_ARITHMETIC = re.compile(
    r"\d\s*(?:[-+*/×÷^%]|plus|minus|times|divided by)\s*\d"
    r"|\b(?:calculate|compute|square root|percent of|how much is|what is \d)",
    re.IGNORECASE,
)
_TIME_SENSITIVE = re.compile(
    r"\b(?:today|tonight|yesterday|tomorrow|current|currently|latest|newest|recent|recently|now|"
    r"this (?:week|month|quarter|year)|last (?:week|month|quarter|year)|as of|up[- ]to[- ]date|"
    r"still|upcoming|breaking|price|stock|weather|score|news|version|release|deadline|status)\b",
    re.IGNORECASE,
)
_STYLE = re.compile(
    r"\b(?:write|rewrite|rephrase|draft|compose|summari[sz]e|translate|shorten|proofread|polish|"
    r"tone|style|format|formal|informal|friendly|polite|bullet|bullets|json|yaml|markdown|table|"
    r"email|letter|slogan|poem|in the voice of|as a list|one sentence)\b",
    re.IGNORECASE,
)
_SOURCES = re.compile(
    r"\b(?:source|sources|cite|citation|reference|according to|policy|contract|clause|section|"
    r"regulation|manual|documentation|docs|handbook|report|paper|study)\b",
    re.IGNORECASE,
)
_COMPARISON = re.compile(
    r"\b(?:compare|versus|vs|difference|older|younger|taller|larger|smaller|better|earlier|later|"
    r"more|less|fewer|same|both|between)\b",
    re.IGNORECASE,
)
_BRIDGE = re.compile(
    r"\b(?:whose|of the \w+ (?:that|who|which)|(?:that|who|which) (?:was|were|is|did|has|had)|"
    r"father|mother|wife|husband|spouse|director|performer|composer|author|founder)\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"```|\bdef \w+\(|\bSELECT\b.+\bFROM\b|[{};]\s*$|</\w+>", re.MULTILINE)


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


# A family of words is looked for only where its first word stands: sets are ten times cheaper than
# alternations of thirty words, and a query mostly has none of them.
_LETTERS = re.compile(r"[a-z]+")
_ASCII_DIGITS = re.compile(r"[0-9]")
# The letters that patterns that ignore case take for ASCII ones.
_LIKE_ASCII = str.maketrans({"İ": "i", "ı": "i", "ſ": "s", "\u212a": "k"})
_TIME_CUES = _set_of(
    "today tonight yesterday tomorrow current currently latest newest recent recently now this "
    "last as up still upcoming breaking price stock weather score news version release deadline "
    "status"
)
_STYLE_CUES = _set_of(
    "write rewrite rephrase draft compose summarise summarize translate shorten proofread polish "
    "tone style format formal informal friendly polite bullet bullets json yaml markdown table "
    "email letter slogan poem in as one"
)
_SOURCE_CUES = _set_of(
    "source sources cite citation reference according policy contract clause section regulation "
    "manual documentation docs handbook report paper study"
)
# Parts of words too: its pattern finds "compute" in "computer".
_ARITHMETIC_CUES = ("calculate", "compute", "square", "percent", "much is")
_COMPARISON_CUES = _set_of(
    "compare versus vs difference older younger taller larger smaller better earlier later more "
    "less fewer same both between"
)
_BRIDGE_CUES = _set_of(
    "whose that who which father mother wife husband spouse director performer composer author "
    "founder"
)
_CODE_CUES = re.compile(r"[`{};]|</|def |SELECT")
_OPENINGS = ("who", "what", "when", "where", "which", "how", "why")
_YES_NO = frozenset(
    [
        "is",
        "are",
        "was",
        "were",
        "do",
        "does",
        "did",
        "can",
        "could",
        "has",
        "have",
        "should",
        "will",
    ]
)

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


def question_features(text: str) -> list[float]:
    """The features of one question, in the order of QUESTION_FEATURES, each in 0..1."""
    if len(text) > _HEAD + _TAIL:
        text = f"{text[:_HEAD]} {text[-_TAIL:]}"
    words = _WORDS.findall(text)
    opening = [word.casefold() for word in words[:6]]
    asked = next((word for word in _OPENINGS if word in opening), "")
    ascii_only = text.isascii()
    spelled = text if ascii_only else text.translate(_LIKE_ASCII)
    lowered = spelled.lower()
    cues = frozenset(_LETTERS.findall(lowered))
    digits = _digits(text, ascii_only)
    return [
        min(math.log1p(len(words)) / 6.0, 1.0),
        _share(len(_NAMES.findall(text)), 4),
        _share(digits, 8),
        float(digits > 0 and _YEAR.search(text) is not None),
        float('"' in text or "“" in text),
        _occurrences(_TIME_SENSITIVE, _TIME_CUES, cues, text),
        _occurrences(_STYLE, _STYLE_CUES, cues, text),
        _occurrences(_SOURCES, _SOURCE_CUES, cues, text),
        float(
            (digits > 0 or any(cue in lowered for cue in _ARITHMETIC_CUES))
            and _ARITHMETIC.search(text) is not None
        ),
        _occurrences(_COMPARISON, _COMPARISON_CUES, cues, text),
        _occurrences(_BRIDGE, _BRIDGE_CUES, cues, text),
        float(_CODE_CUES.search(text) is not None and _CODE.search(text) is not None),
        0.0 if ascii_only else 1.0,
        float("?" in text),
        *(float(asked == word) for word in _OPENINGS),
        float(bool(opening) and opening[0] in _YES_NO),
    ]


def _digits(text: str, ascii_only: bool) -> int:
    if ascii_only:
        return len(_ASCII_DIGITS.findall(text))
    return sum(character.isdigit() for character in text)


def _occurrences(
    family: re.Pattern[str], first_words: frozenset[str], cues: frozenset[str], text: str
) -> float:
    """The share of two occurrences of a family of words."""
    return 0.0 if cues.isdisjoint(first_words) else _share(len(family.findall(text)), 2)


def _share(count: int, enough: int) -> float:
    return min(count / enough, 1.0)
