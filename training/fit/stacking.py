"""Stacking: how much of each member a blend takes (Breiman 1996, "Stacked regressions").

Weights are non-negative least squares on predictions that members made out of fold. What the arms
share on a query (its level) and how they differ (their deviations) are weighted apart: routing
lives on the differences alone, which are fainter than the level and want more shrinkage. (On the
train rows of four recorded tables, the penalty that predicts single outcomes best routes worse than
one three times as heavy.)
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

# Where fewer of the rows have every arm's outcome, members are weighted as a whole.
_COMPLETE_SHARE = 0.5
_COMPLETE_ROWS = 50


class Weights(NamedTuple):
    """Of k members: level (k,) and deviation (k,)."""

    level: Floats
    deviation: Floats

    def mixing(self, arms: int) -> Floats:
        """(k, A, A) each member's share: blend = Σ mixing @ (member − arm means)."""
        equal = np.full((arms, arms), 1.0 / arms)
        return np.asarray(
            self.level[:, None, None] * equal
            + self.deviation[:, None, None] * (np.eye(arms) - equal)
        )

    def apply(self, predictions: Floats) -> Floats:
        """(n, A) from the members' (k, n, A), all less the arm means."""
        level = predictions.mean(axis=2, keepdims=True)
        weighted = self.level[:, None, None] * level
        weighted = weighted + self.deviation[:, None, None] * (predictions - level)
        return np.asarray(weighted.sum(axis=0))


def stack(predictions: Floats, outcomes: Floats) -> Weights:
    """The weights with the least squared error.

    Args:
        predictions: (k, n, A) of the members, out of fold, less the arm means.
        outcomes: (n, A) less the arm means, NaN where unknown.
    """
    known = ~np.isnan(outcomes)
    complete = known.all(axis=1)
    if outcomes.shape[1] < 2 or int(complete.sum()) < max(
        _COMPLETE_ROWS, _COMPLETE_SHARE * float(known.any(axis=1).sum())
    ):
        whole = _solve(predictions[:, known], outcomes[known])
        return Weights(whole, whole)
    wanted, offered = outcomes[complete], predictions[:, complete]
    level, levels = wanted.mean(axis=1), offered.mean(axis=2)
    return Weights(
        _solve(levels, level),
        _solve(
            (offered - levels[:, :, None]).reshape(len(offered), -1),
            (wanted - level[:, None]).ravel(),
        ),
    )


def _solve(offered: Floats, wanted: Floats) -> Floats:
    if not wanted.size:
        return np.zeros(len(offered))
    return np.asarray(nnls(offered.T, wanted)[0])


def stacked_out_of_fold(predictions: Floats, outcomes: Floats, folds: Ints) -> Floats:
    """(n, A) blends whose weights never saw the row's fold; shapes as for `stack`."""
    blended = np.zeros(outcomes.shape)
    for fold in np.unique(folds):
        test = folds == fold
        weights = stack(predictions[:, ~test], outcomes[~test])
        blended[test] = weights.apply(predictions[:, test])
    return blended
