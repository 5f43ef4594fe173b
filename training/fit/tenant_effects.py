"""How a tenant's outcomes differ from what everybody's heads expect, with the error of that.

One number per tenant, arm and metric: the mean residual of the tenant's doubly robust
pseudo-outcomes around the heads, on the scale where these are linear.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.linear_policy import LOGISTIC
from training.fit.folds import Ints
from training.log.rounds import Bools, Floats

# With fewer reported draws a residual's variance can't be told.
MIN_DRAWS = 20
# Log-odds further than this from the heads' are never asked for.
_WIDEST = 4.0
_HALVINGS = 24
# A metric that an arm determines leaves residuals of this size, relative to it: nothing to learn.
_ROUNDING = 1e-9


class TenantRows(NamedTuple):
    """Rounds of T tenants, n rows, as offsets are learned from them.

    tenants (n,) numbers below T, −1 for a row of none; groups (n,) near-duplicate queries; scores
    (n, A, M) what heads that never saw the row give, before their links (M,); gamma (n, A, M)
    pseudo-outcomes; inverse (n, A, M) inverse propensities of what was drawn and reported, 0
    elsewhere; usable (n, A) where an arm was eligible.
    """

    tenants: Ints
    groups: Ints
    scores: Floats
    links: NDArray[np.int8]
    gamma: Floats
    inverse: Floats
    usable: Bools

    def rows(self, index: Bools) -> "TenantRows":
        """Some of the rows."""
        picked = {name: getattr(self, name)[index] for name in self._fields if name != "links"}
        return self._replace(**picked)

    def residuals(self, offsets: Floats | float = 0.0) -> Floats:
        """(n, A, M) pseudo-outcomes less what is expected; `offsets` (n, A, M) are added."""
        return self.gamma - expected_of(self.scores + offsets, self.links)


class Effects(NamedTuple):
    """estimate (T, A, M); variance (T, A, M) of its error, infinite where there is no estimate."""

    estimate: Floats
    variance: Floats


def expected_of(scores: Floats, links: NDArray[np.int8]) -> Floats:
    """(n, A, M) expected metrics of heads' scores (n, A, M)."""
    return np.where(links == LOGISTIC, _logistic(scores), scores)


def tenant_effects(rows: TenantRows, count: int) -> Effects:
    """The effects of the tenants 0..count−1, each on its own rows alone."""
    arms, metrics = rows.gamma.shape[1:]
    found = Effects(*(np.zeros((count, arms, metrics)) for _ in range(2)))
    for a in range(arms):
        mine = rows.rows((rows.tenants >= 0) & rows.usable[:, a])
        clusters = _clusters(mine)
        for m in range(metrics):
            estimate, variance = _effect(mine, clusters, a, m, count)
            found.estimate[:, a, m], found.variance[:, a, m] = estimate, variance
    return found


class _Clusters(NamedTuple):
    """of_row (n,): near-duplicate queries of one tenant share a number; tenant (C,) whose."""

    of_row: Ints
    tenant: Ints


def _clusters(rows: TenantRows) -> _Clusters:
    width = int(rows.groups.max(initial=0)) + 1
    codes, of_row = np.unique(rows.tenants * width + rows.groups, return_inverse=True)
    return _Clusters(of_row, codes // width)


def _effect(
    rows: TenantRows, clusters: _Clusters, arm: int, metric: int, count: int
) -> tuple[Floats, Floats]:
    """(T,) estimates and (T,) variances of one arm's metric."""
    scores, gamma = rows.scores[:, arm, metric], rows.gamma[:, arm, metric]
    inverse = rows.inverse[:, arm, metric]
    total = np.maximum(_sums(rows.tenants, None, count), 1.0)
    if rows.links[metric] == LOGISTIC:
        estimate, slope = _log_odds_shift(scores, gamma, rows.tenants, count)
        residuals = gamma - _logistic(scores + estimate[rows.tenants])
    else:
        estimate, slope = _sums(rows.tenants, gamma - scores, count) / total, np.ones(count)
        residuals = gamma - scores - estimate[rows.tenants]
    of_clusters = np.bincount(clusters.of_row, weights=residuals, minlength=len(clusters.tenant))
    own = _sums(clusters.tenant, np.asarray(of_clusters**2), count)
    # A few draws may agree by luck: no tenant's is below what all tenants' draws vary by.
    drawn = inverse > 0.0
    pooled = (residuals[drawn] ** 2).sum() / max((inverse[drawn] ** 2).sum(), 1e-12)
    least = pooled * _sums(rows.tenants, inverse**2, count)
    draws = _sums(rows.tenants[drawn], None, count)
    variance = np.maximum(own, least) / total**2 / slope**2
    known = (draws >= MIN_DRAWS) & (variance > (_ROUNDING * np.abs(gamma).max(initial=0.0)) ** 2)
    return np.where(known, estimate, 0.0), np.where(known, variance, np.inf)


def _log_odds_shift(
    scores: Floats, gamma: Floats, tenants: Ints, count: int
) -> tuple[Floats, Floats]:
    """(T,) shifts under which a tenant's mean probability is its mean pseudo-outcome, by halving;
    (T,) the slope of that mean there.
    """
    total = np.maximum(_sums(tenants, None, count), 1.0)
    wanted = _sums(tenants, gamma, count) / total
    low, high = np.full(count, -_WIDEST), np.full(count, _WIDEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        below = _sums(tenants, _logistic(scores + middle[tenants]), count) / total < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    shift = (low + high) / 2.0
    probability = _logistic(scores + shift[tenants])
    slope = _sums(tenants, probability * (1.0 - probability), count) / total
    return shift, np.maximum(slope, 1e-3)


def _sums(numbers: Ints, values: Floats | None, count: int) -> Floats:
    """(T,) sums of the values by tenant, or counts."""
    return np.bincount(numbers, weights=values, minlength=count).astype(np.float64)


def _logistic(scores: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(scores, -30.0, 30.0))))
