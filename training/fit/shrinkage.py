"""Shrinking many noisy effects towards zero, as much as they look like noise.

    y_ta = c_t + d_ta + error,  c_t ~ N(0, τ_c²),  d_ta ~ N(0, τ_d²),  error ~ N(0, s²_ta)

for tenants t and arms a: how much better or worse a tenant fares whatever the arm, and how its arms
differ. The τ are those of the highest marginal likelihood (empirical Bayes: Efron and Morris 1975;
a random-effects meta-analysis with a nested effect), and 0 unless a likelihood-ratio test tells
them from 0. With τ_c = 0 an effect is shrunk by τ_d² / (τ_d² + s²).
"""

from typing import NamedTuple

import numpy as np

from training.log.rounds import Floats

# The 95 % point of ½χ²₀ + ½χ²₁, the null distribution for a variance at its bound of 0 (Self and
# Liang 1987).
_LIKELIHOOD_RATIO = 2.706
_GRID = np.concatenate([[0.0], np.geomspace(0.02, 3.0, 40)])


class Spread(NamedTuple):
    """τ_c and τ_d: the standard deviations of tenants' common and arm-by-arm effects."""

    common: float
    by_arm: float


def fit_spread(effects: Floats, variances: Floats) -> Spread:
    """The spread of effects (T, A) whose errors have these variances (T, A), infinite if unknown.

    Nothing is told from the effects of a single tenant.
    """
    known = np.isfinite(variances)
    if int(known.any(axis=1).sum()) < 2:
        return Spread(0.0, 0.0)
    grid = _GRID * float(np.sqrt((effects[known] ** 2).mean()))
    likelihood = _log_likelihoods(effects, variances, grid)
    if not _distinguishable(likelihood.max(), likelihood[:, 0].max()):
        likelihood = likelihood[:, :1]
    if not _distinguishable(likelihood.max(), likelihood[0].max()):
        likelihood = likelihood[:1]
    common, by_arm = np.unravel_index(int(likelihood.argmax()), likelihood.shape)
    return Spread(float(grid[common]), float(grid[by_arm]))


def _distinguishable(free: float, without: float) -> bool:
    """Whether the log-likelihood is clearly better than without one of the spreads."""
    return 2.0 * (free - without) > _LIKELIHOOD_RATIO


def shrunk(effects: Floats, variances: Floats, spread: Spread) -> Floats:
    """(T, A) the effects' posterior means; an effect that isn't known gets its tenant's common."""
    precision = 1.0 / (spread.by_arm**2 + variances)
    pull = spread.common**2 / (1.0 + spread.common**2 * precision.sum(axis=1))
    common = (pull * (precision * effects).sum(axis=1))[:, None]
    return np.asarray(common + spread.by_arm**2 * precision * (effects - common))


def _log_likelihoods(effects: Floats, variances: Floats, grid: Floats) -> Floats:
    """(G, G) of the effects by τ_c and τ_d from a grid (G,), but for a constant.

    A tenant's effects have the covariance diag(τ_d² + s²) + τ_c², whose determinant and inverse are
    those of Sherman and Morrison (1950).
    """
    precision = 1.0 / (grid[:, None, None] ** 2 + variances)  # (τ_d, T, A)
    known = np.broadcast_to(np.isfinite(variances), precision.shape)
    logarithms = np.log(precision, where=known, out=np.zeros_like(precision)).sum(axis=2)
    total, weighted = precision.sum(axis=2), (precision * effects).sum(axis=2)
    squares = (precision * effects**2).sum(axis=2)
    return np.array(
        [
            0.5 * (logarithms - np.log1p(c**2 * total) - squares).sum(axis=1)
            + 0.5 * (c**2 * weighted**2 / (1.0 + c**2 * total)).sum(axis=1)
            for c in grid
        ]
    )
