"""The filter of trained queries: all that were trained on are found, and few others."""

from hypothesis import given
from hypothesis import strategies as st

from training.trained_queries import QueryFilter, query_digests, query_filter, trained_on


@given(st.lists(st.text("0123456789abcdef", min_size=1, max_size=16), max_size=50))
def test_every_trained_query_is_found(hashes: list[str]) -> None:
    assert trained_on(query_filter(hashes), hashes).all()


def test_few_other_queries_are_found() -> None:
    """About 2.2 % of the others; more than 560 of 20,000 (2.8 %) would hardly ever be seen."""
    encoded = query_filter(f"trained {number}" for number in range(5_000))
    found = trained_on(encoded, [f"other {number}" for number in range(20_000)])
    assert 300 <= found.sum() <= 560


def test_a_row_without_a_hash_is_never_found() -> None:
    assert trained_on(query_filter(["", "a"]), ["", "a", ""]).tolist() == [False, True, False]
    assert trained_on(query_filter([]), ["a", ""]).tolist() == [False, False]
    assert trained_on("", ["a"]).tolist() == [False]
    assert trained_on(query_filter(["a"]), []).tolist() == []


def test_it_takes_a_byte_a_query() -> None:
    encoded = query_filter(f"trained {number}" for number in range(3_000))
    assert len(encoded) == 4 * 3_000 / 3


def test_a_filter_that_is_filled_in_parts_is_that_of_all() -> None:
    hashes = [f"trained {number}" for number in range(1_000)]
    parts = QueryFilter(1_000)
    for start in (0, 300):
        parts.add(query_digests(["", *hashes[start : start + 700]]))
    assert parts.text() == query_filter(hashes)
