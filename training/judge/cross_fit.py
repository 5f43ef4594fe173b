"""The estimators' reward models, cross-fitted: every penalty and fold from one pass over the rows.

The same predictions as scikit-learn's ridge regressions, to rounding (a test holds it to that):
those without a fold need only the sums of squares and products less that fold's. That takes a tenth
of the time, and the benchmarks judge thousands of logs.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve

from training.fit.folds import Ints
from training.fit.pseudo_outcomes import OneDraw
from training.log.rounds import Bools, Floats

NUISANCE_GRID = (10.0, 30.0, 100.0, 300.0, 1000.0)
# An arm with fewer reported rounds than this is predicted by its shrunken mean.
MIN_ROWS = 50
# Pseudo-rounds of the metric's overall mean, mixed into the mean of such an arm.
SHRINKAGE = 10.0


class CrossFitted(NamedTuple):
    """predictions (n, A, M), each made by models that never saw the row's fold; alphas (M,)."""

    predictions: Floats
    alphas: Floats


def cross_fit(
    draws: OneDraw, folds: Ints, penalties: tuple[float, ...] = NUISANCE_GRID
) -> CrossFitted:
    """Predictions at each metric's penalty of least out-of-fold squared error.

    Args:
        draws: n rows.
        folds: (n,) the fold of each.
        penalties: to choose from.
    """
    n, arms, metrics = draws.values.shape
    by_penalty = np.zeros((len(penalties), n, arms, metrics))
    known = ~np.isnan(draws.values)
    for m in range(metrics):
        for a in range(arms):
            by_penalty[:, :, a, m] = _arm(draws, folds, penalties, known[:, :, m], a, m)
    values = np.nan_to_num(draws.values)
    losses = np.array([(known * (p - values) ** 2).sum(axis=(0, 1)) for p in by_penalty])
    best = losses.argmin(axis=0)
    predictions = np.stack([by_penalty[best[m], :, :, m] for m in range(metrics)], axis=2)
    return CrossFitted(predictions, np.array(penalties)[best])


class _Sums(NamedTuple):
    """Sums over some rows: how many, of x (d,), of y, of x·xᵀ (d, d), of x·y (d,)."""

    rows: float
    x: Floats
    y: float
    xx: Floats
    xy: Floats

    def less(self, other: "_Sums") -> "_Sums":
        """Over the rows that aren't among the other's."""
        return _Sums(
            self.rows - other.rows,
            self.x - other.x,
            self.y - other.y,
            self.xx - other.xx,
            self.xy - other.xy,
        )

    def ridge(self, penalty: float) -> tuple[Floats, float]:
        """Coefficients and intercept; the intercept isn't penalised."""
        mean_x, mean_y = self.x / self.rows, self.y / self.rows
        centred = self.xx - np.outer(mean_x, self.x)
        centred[np.diag_indices_from(centred)] += penalty
        target = self.xy - mean_x * self.y
        coefficients = np.asarray(solve(centred, target, assume_a="pos", overwrite_a=True))
        return coefficients, float(mean_y - coefficients @ mean_x)


def _sums(x: Floats, y: Floats) -> _Sums:
    return _Sums(float(len(y)), x.sum(axis=0), float(y.sum()), x.T @ x, x.T @ y)


def _arm(
    draws: OneDraw, folds: Ints, penalties: tuple[float, ...], known: Bools, a: int, m: int
) -> Floats:
    """(penalties, n) one arm's predictions of one metric; `known` (n, A) is of that metric."""
    predictions = np.zeros((len(penalties), len(folds)))
    numbers = np.unique(folds)
    rows = {fold: (folds == fold) & known[:, a] for fold in numbers}
    parts = {
        fold: _sums(draws.scaled[mine], draws.values[mine, a, m]) for fold, mine in rows.items()
    }
    total = _sums(draws.scaled[known[:, a]], draws.values[known[:, a], a, m])
    for fold in numbers:
        test, train = folds == fold, total.less(parts[fold])
        if train.rows < MIN_ROWS:
            others = known & ~test[:, None]
            overall = draws.values[:, :, m][others].mean() if others.any() else 0.0
            shrunk = (train.y + SHRINKAGE * overall) / (train.rows + SHRINKAGE)
            predictions[:, test] = shrunk
            continue
        for index, penalty in enumerate(penalties):
            coefficients, intercept = train.ridge(penalty)
            predictions[index, test] = draws.scaled[test] @ coefficients + intercept
    return predictions
