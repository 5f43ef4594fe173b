"""Folds: near-duplicates stay together, and seeds repeat."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.fit.folds import drawn, group_numbers, grouped_folds, hashed_folds, row_digests


def test_equal_hashes_share_a_number_and_unknown_ones_stand_alone() -> None:
    assert group_numbers(["a", "b", "a", "", ""]).tolist() == [0, 1, 0, 2, 3]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=100), st.integers(2, 6), st.integers(0, 9))
def test_a_group_is_never_split(numbers: list[int], count: int, seed: int) -> None:
    groups = group_numbers([str(number) for number in numbers])
    folds = grouped_folds(groups, count, seed)
    for group in set(groups.tolist()):
        assert len(set(folds[groups == group].tolist())) == 1
    assert folds.min() >= 0
    assert folds.max() < count
    np.testing.assert_array_equal(folds, grouped_folds(groups, count, seed))


def test_folds_are_of_equal_size_where_groups_are() -> None:
    folds = grouped_folds(np.arange(1_000), 5, seed=3)
    assert np.bincount(folds).tolist() == [200] * 5


def test_hashed_folds_follow_the_query_and_the_seed_alone() -> None:
    hashes = [f"query {number % 700}" for number in range(2_000)] + [""] * 300
    ids = [f"row {number}" for number in range(2_300)]
    folds = hashed_folds(row_digests(hashes, ids), 5, 3)
    some = np.random.default_rng(0).permutation(2_300)[:500]
    of_some = row_digests([hashes[row] for row in some], [ids[row] for row in some])
    np.testing.assert_array_equal(hashed_folds(of_some, 5, 3), folds[some])
    assert all(len(set(folds[number:2_000:700].tolist())) == 1 for number in range(600))
    other = hashed_folds(row_digests(hashes, ids), 5, 4)
    assert 0.1 < (folds == other).mean() < 0.3


def test_hashed_folds_are_of_nearly_equal_size() -> None:
    """Null: a fifth each. z beyond 4.5 in one of five folds: once in 30,000 runs."""
    ids = [f"row {number}" for number in range(10_000)]
    sizes = np.bincount(hashed_folds(row_digests([""] * 10_000, ids), 5, 0), minlength=5)
    assert (np.abs(sizes - 2_000) < 4.5 * np.sqrt(1_600)).all()


def test_a_drawn_share_is_a_sample_of_that_size() -> None:
    """Null: uniform on [0, 1); z beyond 4.5 once in 150,000 runs."""
    ids = [f"row {number}" for number in range(10_000)]
    share = (drawn(row_digests([""] * 10_000, ids), 7) < 0.3).mean()
    assert abs(share - 0.3) < 4.5 * np.sqrt(0.21 / 10_000)
