"""The estimators' reward models from sums over a log's parts: `training.judge.cross_fit` without
its rows.
"""

from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve

from training.fit.row_sums import HeadSums
from training.judge.cross_fit import MIN_ROWS, NUISANCE_GRID, SHRINKAGE
from training.log.rounds import Floats, LoggedRounds

# Sums by fold, arm and metric.
Sums = Mapping[tuple[int, int, int], HeadSums]


class FoldModels(NamedTuple):
    """coefficients (F, A, M, d) and intercepts (F, A, M) of models that never saw the fold; alphas
    (M,) each metric's penalty, of least squared error out of fold.
    """

    coefficients: Floats
    intercepts: Floats
    alphas: Floats

    def predict(self, scaled: Floats, fold: int) -> Floats:
        """(n, A, M) for scaled rows (n, d) of a fold."""
        arms, metrics, dimension = self.coefficients.shape[1:]
        flat = scaled @ self.coefficients[fold].reshape(-1, dimension).T
        return np.asarray(flat.reshape(len(scaled), arms, metrics) + self.intercepts[fold])


def fold_models(
    sums: Sums, rounds: LoggedRounds, penalties: tuple[float, ...] = NUISANCE_GRID
) -> FoldModels:
    """The models of scaled features' sums; `rounds` names the arms and metrics."""
    arms, metrics = len(rounds.arms), len(rounds.metrics)
    folds = max(fold for fold, _, _ in sums) + 1
    dimension = len(next(iter(sums.values())).xy)
    shape = (len(penalties), folds, arms, metrics)
    coefficients, intercepts = np.zeros((*shape, dimension)), np.zeros(shape)
    for m in range(metrics):
        heads = {
            (f, a): sums[f, a, m] for f in range(folds) for a in range(arms) if (f, a, m) in sums
        }
        for fold in range(folds):
            train = {a: _without(heads, fold, a) for a in range(arms)}
            overall = _mean([one for one in train.values() if one is not None])
            for a, mine in train.items():
                fitted = _fitted(mine, overall, penalties, dimension)
                coefficients[:, fold, a, m], intercepts[:, fold, a, m] = fitted
    losses = np.zeros((len(penalties), metrics))
    for (fold, a, m), head in sums.items():
        for number in range(len(penalties)):
            slopes, level = coefficients[number, fold, a, m], intercepts[number, fold, a, m]
            losses[number, m] += _squared_error(head, slopes, float(level))
    best = losses.argmin(axis=0)
    each = np.arange(metrics)
    return FoldModels(
        np.moveaxis(coefficients[best, :, :, each], 0, 2),
        np.moveaxis(intercepts[best, :, :, each], 0, 2),
        np.array(penalties)[best],
    )


def _without(heads: Mapping[tuple[int, int], HeadSums], fold: int, arm: int) -> HeadSums | None:
    """An arm's sums over the other folds."""
    others = [head for (own, a), head in heads.items() if own != fold and a == arm]
    return reduce(HeadSums.plus, others) if others else None


def _mean(heads: list[HeadSums]) -> float:
    rows = sum(head.of.rows for head in heads)
    return sum(head.y for head in heads) / rows if rows else 0.0


def _fitted(
    train: HeadSums | None, overall: float, penalties: tuple[float, ...], dimension: int
) -> tuple[Floats, Floats]:
    """Coefficients (P, d) and intercepts (P,); of too few rows the shrunken mean alone."""
    rows = train.of.rows if train is not None else 0.0
    coefficients = np.zeros((len(penalties), dimension))
    if train is None or rows < MIN_ROWS:
        told = train.y if train is not None else 0.0
        level = (told + SHRINKAGE * overall) / (rows + SHRINKAGE)
        return coefficients, np.full(len(penalties), level)
    mean_x, mean_y = train.of.x / rows, train.y / rows
    target = train.xy - mean_x * train.y
    for number, penalty in enumerate(penalties):
        system = train.of.centred.copy()
        system[np.diag_indices_from(system)] += penalty
        coefficients[number] = solve(system, target, assume_a="pos", overwrite_a=True)
    return coefficients, mean_y - coefficients @ mean_x


def _squared_error(head: HeadSums, slopes: Floats, level: float) -> float:
    """Σ (y − slopes·x − level)² over the rows."""
    product = head.of.xx @ slopes
    predicted = float(
        slopes @ product + 2.0 * level * (head.of.x @ slopes) + head.of.rows * level**2
    )
    return head.yy - 2.0 * (float(slopes @ head.xy) + level * head.y) + predicted
