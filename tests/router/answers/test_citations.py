"""Citations are checked as text streams by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.answers.citations import CitationFilter


def filtered(pieces: list[str], passages: int = 3) -> tuple[str, set[int], int]:
    checking = CitationFilter(passages)
    text = "".join(checking.feed(piece) for piece in pieces) + checking.finish()
    return text, checking.cited, checking.dropped


@pytest.mark.parametrize(
    ("text", "passed", "cited", "dropped"),
    [
        ("Paris [1].", "Paris [1].", {1}, 0),
        ("Paris [9].", "Paris.", set(), 1),
        ("Paris[2][7] is", "Paris[2] is", {2}, 1),
        ("Both [1, 3]", "Both [1, 3]", {1, 3}, 0),
        ("Both [1, 8; 3]", "Both [1, 3]", {1, 3}, 1),
        ("in [2024] and [x]", "in [2024] and [x]", set(), 0),
        ("first [0]", "first [0]", set(), 0),
        ("code `a[7]` and [7]", "code `a[7]` and", set(), 1),
        ("```\nrow[9]\n``` so [1]", "```\nrow[9]\n``` so [1]", {1}, 0),
        ("open [1", "open [1", set(), 0),
        ("nothing", "nothing", set(), 0),
        ("[ 1 ]", "[ 1 ]", {1}, 0),
        ("[1,2,3,4,5,6,7,8]", "[1, 2, 3]", {1, 2, 3}, 5),
        ("[1,2,3,4,5,6,7,8,9]", "[1,2,3,4,5,6,7,8,9]", set(), 0),
    ],
)
def test_a_citation_of_a_passage_that_wasnt_given_is_dropped_and_counted(
    text: str, passed: str, cited: set[int], dropped: int
) -> None:
    assert filtered([text]) == (passed, cited, dropped)


pieces = st.lists(st.sampled_from([*"ab [],;.0123`\n", "[1]", " [9]", "[2, 8]"]), max_size=40)


@given(pieces)
def test_it_makes_no_difference_how_the_text_is_cut(parts: list[str]) -> None:
    assert filtered(parts) == filtered(["".join(parts)])


def test_what_can_be_no_citation_any_more_isnt_held_back() -> None:
    checking = CitationFilter(3)
    assert checking.feed("see [1") == "see"
    assert checking.feed("984") == ""
    assert checking.feed("x") == " [1984x"
    assert checking.feed("[" + "1" * 80) == "[" + "1" * 80


def test_text_without_brackets_passes_at_once() -> None:
    checking = CitationFilter(3)
    assert checking.feed("Hello") == "Hello"
    assert checking.feed(", world") == ", world"
