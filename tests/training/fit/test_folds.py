"""Folds: near-duplicates stay together, and seeds repeat."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.fit.folds import group_numbers, grouped_folds


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
