"""Logistic regression with a squared penalty, by Newton's method.

The minimum that scikit-learn's LogisticRegression finds, without its import, which takes a second:
more than the fit.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve

from training.log.rounds import Bools, Floats

# The loss is convex and its minimum is met to rounding in five to eight steps.
_MOST_STEPS, _MOST_HALVINGS = 50, 30
# Of the loss, per step: what is gained beyond is rounding.
_TOLERANCE = 1e-12


class LogisticFit(NamedTuple):
    """coefficients (k,) and the intercept of the log-odds."""

    coefficients: Floats
    intercept: float


def fit_logistic(columns: Floats, known: Bools, inverse_penalty: float) -> LogisticFit:
    """The minimum of ½|b|² + C · Σ log(1 + exp(−y·(x·b + b₀))), y = ±1; b₀ isn't penalised.

    Steps are Newton's (iteratively reweighted least squares: McCullagh and Nelder 1989, section
    2.5), halved while they don't lower the loss.

    Args:
        columns: x (n, k), of similar spread.
        known: (n,) whether y is 1; both answers must occur.
        inverse_penalty: C, as scikit-learn has it.
    """
    x = np.column_stack([columns, np.ones(len(columns))])
    penalty = np.append(np.full(columns.shape[1], 1.0 / inverse_penalty), 0.0)
    sign = np.where(known, 1.0, -1.0)
    weights = np.zeros(x.shape[1])
    loss = _loss(x, sign, weights, penalty)
    for _ in range(_MOST_STEPS):
        step = _newton_step(x, known, weights, penalty)
        size = 1.0
        for _ in range(_MOST_HALVINGS):
            tried = weights - size * step
            now = _loss(x, sign, tried, penalty)
            if now <= loss:
                break
            size *= 0.5
        else:
            break
        weights, gained, loss = tried, loss - now, now
        if gained <= _TOLERANCE * abs(loss):
            break
    return LogisticFit(weights[:-1], float(weights[-1]))


def _newton_step(x: Floats, known: Bools, weights: Floats, penalty: Floats) -> Floats:
    likely = 1.0 / (1.0 + np.exp(-(x @ weights)))
    gradient = x.T @ (likely - known) + penalty * weights
    hessian = x.T @ (x * (likely * (1.0 - likely))[:, None])
    hessian[np.diag_indices_from(hessian)] += penalty
    return np.asarray(solve(hessian, gradient, assume_a="pos"))


def _loss(x: Floats, sign: Floats, weights: Floats, penalty: Floats) -> float:
    losses = np.logaddexp(0.0, -sign * (x @ weights))
    return float(losses.sum() + 0.5 * (penalty * weights) @ weights)
