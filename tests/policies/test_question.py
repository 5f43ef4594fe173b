"""Question features: within 0..1 for any text, and true to their names."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import question, word_families
from policies.question import QUESTION_FEATURES, question_features


def feature(text: str, name: str) -> float:
    return question_features(text)[QUESTION_FEATURES.index(name)]


@given(st.text(max_size=3000))
def test_every_feature_of_any_text_lies_in_0_to_1(text: str) -> None:
    features = question_features(text)
    assert len(features) == len(QUESTION_FEATURES)
    assert all(0.0 <= value <= 1.0 for value in features)


_ODD = """Is it Madame Lu of the New York don't don’t WHO how Bank . ! ? é Ünal A Bc 1998 ³ ٣ "q" “
_x x_y Łódź ﬁne ſo"""
_PIECES = st.sampled_from(_ODD.split())


@given(st.lists(st.tuples(_PIECES, st.sampled_from([" ", "", "\n", ". ", "'"]))))
def test_names_words_and_digits_are_counted_as_defined(pieces: list[tuple[str, str]]) -> None:
    text = "".join(word + gap for word, gap in pieces)
    capital = r"[^\W\d_a-z]"
    following = rf"(?:\s+(?:of|the|de|von)?\s*{capital}\w+)*"
    names = re.findall(rf"(?<![.!?]\s)(?<!^)\b{capital}\w+{following}", text)
    words = re.findall(r"\w+(?:['’]\w+)?", text)
    opening = [word.casefold() for word in words[:6]]
    assert feature(text, "names") == min(len(names) / 4, 1.0)
    assert feature(text, "length") == min(math.log1p(len(words)) / 6.0, 1.0)
    assert feature(text, "digits") == min(sum(map(str.isdigit, text)) / 8, 1.0)
    assert feature(text, "asks_who") == float("who" in opening)
    assert feature(text, "asks_yes_no") == float(opening[:1] == ["is"])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("What is the latest release?", "time_sensitive"),
        ("Rewrite this in a friendly tone", "style"),
        ("What is 12 * 7?", "arithmetic"),
        ("When did Michael Jordan join the Chicago Bulls?", "names"),
        ("Who is the father of the director of the film?", "bridge"),
        ("Which is older, X or Y?", "comparison"),
        ("Cite the section of the policy", "asks_sources"),
        ("def f(x):", "code"),
        ("Was it in 1998?", "year"),
        ("Was it in May?", "asks_yes_no"),
        ("In which city was he born?", "asks_which"),
        ("日本の首都", "non_ascii"),
    ],
)
def test_what_a_question_shows_is_seen(text: str, name: str) -> None:
    assert feature(text, name) > 0.0
    assert feature("Go on", name) == 0.0


def test_a_long_prompt_is_read_at_both_ends_in_bounded_time() -> None:
    prompt = "Rewrite this. " + "A a" * 10_000 + " What is 3 + 4?"
    assert feature(prompt, "style") > 0.0
    assert feature(prompt, "arithmetic") == 1.0


_AWKWARD = """what is this week as of up-to-date scores SCORE's ſcore latest Cİte paper whose of the
man that was 12 + 7 ٣ plus computer square root percent of in the voice of one sentence ``` def f(
SELECT a FROM b ; } </a as a list \u212aelvin stoc\u212a how much is compare versus 1998 é news2
_news price's caf\u00e9news"""
_WORDS = st.sampled_from(_AWKWARD.split())


@given(st.lists(st.tuples(_WORDS, st.sampled_from([" ", "-", ". ", "\n", ""])), max_size=12))
def test_looking_for_first_words_first_misses_nothing(pieces: list[tuple[str, str]]) -> None:
    text = "".join(word + gap for word, gap in pieces)
    for name, family in (
        ("time_sensitive", word_families.TIME_SENSITIVE),
        ("style", word_families.STYLE),
        ("asks_sources", word_families.SOURCES),
        ("comparison", word_families.COMPARISON),
        ("bridge", word_families.BRIDGE),
    ):
        assert feature(text, name) == min(len(family.pattern.findall(text)) / 2, 1.0)
    for name, pattern in (
        ("arithmetic", question._ARITHMETIC),
        ("code", question._CODE),
        ("year", question._YEAR),
    ):
        assert feature(text, name) == float(pattern.search(text) is not None)
