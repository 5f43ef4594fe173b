"""Reward models on full-information rows: per arm and metric, heavily regularised, cross-fitted.

Metrics within 0..1 get logistic regression (a fractional value counts as a share of a success),
others ridge regression. One regularisation per metric is chosen by cross-fitted loss over all arms;
a head that doesn't beat its arm's mean on rows it hasn't seen keeps the mean alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge

from policies.linear_policy import IDENTITY, LOGISTIC
from training.amounts import is_amount
from training.fit.folds import Ints
from training.fit.heads import Heads
from training.fit.threads import one_thread
from training.judge.ope import standard_error

Floats = NDArray[np.float64]

C_GRID = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
ALPHA_GRID = (1000.0, 300.0, 100.0, 30.0, 10.0)
# Fewer rows than this say nothing about 250 coefficients.
MIN_HEAD_ROWS = 50


class HeadScore(NamedTuple):
    """How one head did out of fold: its loss, the arm mean's, and what was kept."""

    arm: str
    metric: str
    rows: int
    loss: float
    mean_loss: float
    regularisation: float | None


class FittedHeads(NamedTuple):
    """The heads and the evidence on which their regularisation was chosen."""

    heads: Heads
    scores: list[HeadScore]


@one_thread()
def fit_heads(
    scaled: Floats,
    values: Floats,
    folds: Ints,
    arms: Sequence[str],
    metrics: Sequence[str],
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> FittedHeads:
    """Fit every head.

    Args:
        scaled: (n, d) scaled features.
        values: (n, A, M) outcomes, NaN where unknown.
        folds: (n,) fold of each row; near-duplicates share one.
        arms: the arms' names, for the scores.
        metrics: the metrics' names.
        advance: told of each metric fitted.
    """
    shape = (len(arms), len(metrics))
    coefficients = np.zeros((*shape, scaled.shape[1]))
    intercepts = np.zeros(shape)
    links = np.array([_link(values[:, :, m], metrics[m]) for m in range(shape[1])], dtype=np.int8)
    scores: list[HeadScore] = []
    for m, metric in enumerate(metrics):
        model = _Logistic() if links[m] == LOGISTIC else _Linear(values[:, :, m])
        losses = [_losses(model, scaled, values[:, a, m], folds) for a in range(len(arms))]
        chosen = _heaviest_within_one_error(np.sum([loss.by_setting for loss in losses], axis=0))
        for a, arm in enumerate(arms):
            y = values[:, a, m]
            known = ~np.isnan(y)
            intercepts[a, m] = model.constant(y[known]) if known.any() else model.unknown
            worth = losses[a].by_setting[chosen].sum() < losses[a].mean
            if worth:
                fitted = model.fit(scaled[known], y[known], model.grid[chosen])
                coefficients[a, m], intercepts[a, m] = fitted
            scores.append(_score(arm, metric, losses[a], chosen, model.grid if worth else None))
        advance(1)
    return FittedHeads(Heads(coefficients, intercepts, links), scores)


class Regularisation(NamedTuple):
    """Settings by arm and metric, as `fit_heads` chose them (None keeps the mean), and what to use
    for a head that they don't name.
    """

    chosen: Mapping[str, Mapping[str, float | None]]
    default_c: float
    default_alpha: float

    def of(self, arm: str, metric: str, link: int) -> float | None:
        """One head's setting."""
        default = self.default_c if link == LOGISTIC else self.default_alpha
        return self.chosen.get(arm, {}).get(metric, default)


@one_thread()
def refit_heads(
    scaled: Floats,
    values: Floats,
    arms: Sequence[str],
    metrics: Sequence[str],
    settings: Regularisation,
) -> Heads:
    """Fit every head with a setting chosen before; shapes as for `fit_heads`."""
    shape = (len(arms), len(metrics))
    coefficients = np.zeros((*shape, scaled.shape[1]))
    intercepts = np.zeros(shape)
    links = np.array([_link(values[:, :, m], metrics[m]) for m in range(shape[1])], dtype=np.int8)
    for m, metric in enumerate(metrics):
        model = _Logistic() if links[m] == LOGISTIC else _Linear(values[:, :, m])
        for a, arm in enumerate(arms):
            known = ~np.isnan(values[:, a, m])
            y = values[known, a, m]
            intercepts[a, m] = model.constant(y) if known.any() else model.unknown
            setting = settings.of(arm, metric, int(links[m]))
            if setting is not None and len(y) >= MIN_HEAD_ROWS and np.ptp(y) > 0.0:
                coefficients[a, m], intercepts[a, m] = model.fit(scaled[known], y, setting)
    return Heads(coefficients, intercepts, links)


def _link(values: Floats, metric: str) -> int:
    return IDENTITY if is_amount(metric, values) or np.isnan(values).all() else LOGISTIC


def _heaviest_within_one_error(losses: Floats) -> int:
    """The first of the settings (s, n), heaviest first, whose loss is within one standard error of
    the least (Breiman et al. 1984); the standard error is that of the paired difference.
    """
    best = int(losses.sum(axis=1).argmin())
    for setting, loss in enumerate(losses[:best]):
        behind = loss - losses[best]
        if behind.mean() <= standard_error(behind):
            return setting
    return best


class _Losses(NamedTuple):
    """Out-of-fold losses of one arm's head: by setting and row (s, n), 0 where the row lacks it,
    and summed for the mean alone.
    """

    rows: int
    by_setting: Floats
    mean: float


def _losses(model: "_Logistic | _Linear", scaled: Floats, y: Floats, folds: Ints) -> _Losses:
    known = ~np.isnan(y)
    by_setting, mean = np.zeros((len(model.grid), len(y))), 0.0
    rows = int(known.sum())
    constant = rows == 0 or np.ptp(y[known]) == 0.0
    if rows < MIN_HEAD_ROWS or constant:
        return _Losses(rows, by_setting, 0.0)  # a tie: the mean is kept
    for fold in np.unique(folds):
        train, test = known & (folds != fold), known & (folds == fold)
        if not test.any() or not train.any():
            continue
        mean += model.loss(np.full(int(test.sum()), model.constant(y[train])), y[test]).sum()
        for setting, strength in enumerate(model.grid):
            weights, intercept = model.fit(scaled[train], y[train], strength)
            by_setting[setting, test] = model.loss(scaled[test] @ weights + intercept, y[test])
    return _Losses(rows, by_setting, mean)


def _score(
    arm: str, metric: str, losses: _Losses, chosen: int, grid: tuple[float, ...] | None
) -> HeadScore:
    rows = max(losses.rows, 1)
    return HeadScore(
        arm=arm,
        metric=metric,
        rows=losses.rows,
        loss=float(losses.by_setting[chosen].sum()) / rows,
        mean_loss=float(losses.mean) / rows,
        regularisation=grid[chosen] if grid else None,
    )


class _Logistic:
    """Log-odds; the grid is scikit-learn's C, from heavy to light."""

    grid = C_GRID
    unknown = 0.0  # an arm nobody saw: even odds

    def fit(self, scaled: Floats, y: Floats, strength: float) -> tuple[Floats, float]:
        rows, labels, weights = _as_shares(scaled, y)
        if labels.min() == labels.max():
            return np.zeros(scaled.shape[1]), self.constant(y)
        fitted: Any = LogisticRegression(C=strength, max_iter=1000, tol=1e-5)
        fitted.fit(rows, labels, sample_weight=weights)
        return fitted.coef_[0], float(fitted.intercept_[0])

    def constant(self, y: Floats) -> float:
        share = (y.sum() + 0.5) / (len(y) + 1.0)  # Jeffreys: finite where all failed or succeeded
        return float(np.log(share / (1.0 - share)))

    def loss(self, scores: Floats, y: Floats) -> Floats:
        """Each row's log-loss."""
        return np.asarray(np.logaddexp(0.0, scores) - y * scores)


def _as_shares(scaled: Floats, y: Floats) -> tuple[Floats, NDArray[np.intp], Floats]:
    """Rows, labels and weights: a value strictly between 0 and 1 counts once as each label."""
    between = (y > 0.0) & (y < 1.0)
    if not between.any():
        return scaled, y.astype(np.intp), np.ones(len(y))
    whole, part = ~between, y[between]
    rows = np.concatenate([scaled[whole], scaled[between], scaled[between]])
    labels = np.concatenate([y[whole], np.ones(len(part)), np.zeros(len(part))])
    weights = np.concatenate([np.ones(int(whole.sum())), part, 1.0 - part])
    return rows, labels.astype(np.intp), weights


class _Linear:
    """The metric itself; the grid is ridge regression's α, from heavy to light."""

    grid = ALPHA_GRID

    def __init__(self, values: Floats) -> None:
        known = values[~np.isnan(values)]
        self.unknown = float(known.mean()) if known.size else 0.0

    def fit(self, scaled: Floats, y: Floats, strength: float) -> tuple[Floats, float]:
        fitted: Any = Ridge(alpha=strength).fit(scaled, y)
        return fitted.coef_, float(fitted.intercept_)

    def constant(self, y: Floats) -> float:
        return float(y.mean())

    def loss(self, scores: Floats, y: Floats) -> Floats:
        """Each row's squared error."""
        return np.asarray((scores - y) ** 2)
