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
    scale = float(np.sqrt((effects[known] ** 2).mean()))
    grid = _GRID * scale
    likelihood = np.array(
        [[_log_likelihood(effects, variances, Spread(c, d)) for d in grid] for c in grid]
    )
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
    precision, pull = _common(variances, spread)
    common = (spread.common**2 * (precision * effects).sum(axis=1) * pull)[:, None]
    return np.asarray(common + spread.by_arm**2 * precision * (effects - common))


def _common(variances: Floats, spread: Spread) -> tuple[Floats, Floats]:
    """(T, A) 1 / (τ_d² + s²), and (T,) 1 / (1 + τ_c² Σ of them), by Sherman and Morrison (1950)."""
    precision = 1.0 / (spread.by_arm**2 + variances)
    return precision, 1.0 / (1.0 + spread.common**2 * precision.sum(axis=1))


def _log_likelihood(effects: Floats, variances: Floats, spread: Spread) -> float:
    """Of the effects under this spread, but for a constant."""
    precision, pull = _common(variances, spread)
    known = precision > 0.0
    logarithms = np.log(precision, where=known, out=np.zeros_like(precision)).sum(axis=1)
    explained = spread.common**2 * pull * (precision * effects).sum(axis=1) ** 2
    squares = (precision * effects**2).sum(axis=1) - explained
    return float(0.5 * (logarithms + np.log(pull) - squares).sum())
