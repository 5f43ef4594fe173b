"""Folds for cross-fitting: near-duplicate queries always share one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.intp]


def group_numbers(hashes: Sequence[str]) -> Ints:
    """(n,) equal hashes get equal numbers from 0; a row without a hash is a group of its own."""
    numbers: dict[str, int] = {}
    names = [value or f"row {row}" for row, value in enumerate(hashes)]
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp)


def grouped_folds(groups: Ints, count: int, seed: int) -> Ints:
    """(n,) fold of each row, 0..count−1, such that a group is never split.

    Groups are dealt out in a seeded random order, so folds differ in size by what their groups do.
    """
    largest = int(groups.max(initial=-1)) + 1
    order = np.random.default_rng(seed).permutation(largest)
    return np.asarray(order[groups] % count, dtype=np.intp)
