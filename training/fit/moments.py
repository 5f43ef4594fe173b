"""Moments of the features over the rows to learn from: what ridge regressions need of them."""

from functools import reduce
from typing import NamedTuple

import numpy as np

from training.fit.feature_scale import FeatureScale
from training.fit.row_sums import HeadSums, RowSums, added, head_sums, masked_sums
from training.fit.training_rows import FoldRows
from training.log.rounds import Floats


class Moments(NamedTuple):
    """Of features as they are: by fold; by fold and arm of the rows where it couldn't be taken; of
    rows of which the serving policy expected nothing, and of those among the former; by arm and
    metric of the rows where its value is known.
    """

    rows: dict[int, RowSums]
    masked: dict[tuple[int, int], RowSums]
    silent: dict[int, RowSums]
    silent_masked: dict[tuple[int, int], RowSums]
    heads: dict[tuple[int, int], HeadSums]

    def plus(self, other: "Moments") -> "Moments":
        """Of both parts."""
        return Moments(
            added(self.rows, other.rows),
            added(self.masked, other.masked),
            added(self.silent, other.silent),
            added(self.silent_masked, other.silent_masked),
            added(self.heads, other.heads),
        )

    @property
    def everyone(self) -> RowSums:
        """All rows."""
        return reduce(RowSums.plus, (self.rows[fold] for fold in sorted(self.rows)))

    def scaled(self, scale: FeatureScale) -> "Moments":
        """Of scaled features."""
        return Moments(
            {key: sums.scaled(scale) for key, sums in self.rows.items()},
            {key: sums.scaled(scale) for key, sums in self.masked.items()},
            {key: sums.scaled(scale) for key, sums in self.silent.items()},
            {key: sums.scaled(scale) for key, sums in self.silent_masked.items()},
            {key: sums.scaled(scale) for key, sums in self.heads.items()},
        )


def moments_of(rows: FoldRows) -> Moments:
    """Of one fold's rows."""
    x = rows.features.astype(np.float64)
    expected, usable, fold = rows.expected, rows.usable, rows.fold
    whole = RowSums.of(x)
    silent = np.asarray(np.isnan(expected).all(axis=(1, 2)))
    masked = masked_sums(x, ~usable)
    of_silent: dict[int, RowSums] = {}
    silent_masked: dict[tuple[int, int], RowSums] = {}
    if silent.any():
        of_silent[fold] = whole if silent.all() else RowSums.of(x[silent])
        among = masked if silent.all() else masked_sums(x, ~usable & silent[:, None])
        silent_masked = {(fold, arm): sums for arm, sums in among.items()}
    return Moments(
        {fold: whole},
        {(fold, arm): sums for arm, sums in masked.items()},
        of_silent,
        silent_masked,
        _heads(rows, x),
    )


def _heads(rows: FoldRows, x: Floats) -> dict[tuple[int, int], HeadSums]:
    """Of each arm's draws, and of the warm rows."""
    logged = len(rows.rounds)
    found: dict[tuple[int, int], HeadSums] = {}
    for arm in range(len(rows.rounds.arms)):
        mine = np.flatnonzero(rows.rounds.action == arm)
        for m, sums in enumerate(head_sums(x[mine], rows.rounds.values[mine])):
            found[arm, m] = sums
        if len(rows.warm):
            for m, sums in enumerate(head_sums(x[logged:], rows.warm[:, arm])):
                found[arm, m] = found[arm, m].plus(sums)
    return found
