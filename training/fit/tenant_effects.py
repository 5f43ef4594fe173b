"""How a tenant's outcomes differ from what everybody's heads expect, with the error of that.

One number per tenant, arm and metric: the mean residual of the tenant's doubly robust
pseudo-outcomes around the heads. It and its variance follow from sums over the tenant's rows.
"""

from typing import NamedTuple

import numpy as np

from training.fit.folds import Ints
from training.log.rounds import Bools, Floats

# With fewer reported draws a residual's variance can't be told.
MIN_DRAWS = 20
# A metric that an arm determines leaves residuals of this size, relative to it: nothing to learn.
_ROUNDING = 1e-9


class TenantRows(NamedTuple):
    """Rounds of T tenants, n rows, as offsets are learned from them.

    tenants (n,) numbers below T, −1 for a row of none; groups (n,) near-duplicate queries; scores
    (n, A, M) what heads that never saw the row expect; gamma (n, A, M) pseudo-outcomes; inverse
    (n, A, M) inverse propensities of what was drawn and reported, 0 elsewhere; usable (n, A) where
    an arm was eligible.
    """

    tenants: Ints
    groups: Ints
    scores: Floats
    gamma: Floats
    inverse: Floats
    usable: Bools


class TenantSums(NamedTuple):
    """Of residuals r = Γ − score where the arm was usable, over each tenant's rows, (T, A, M) each:
    rows; Σ r and Σ r²; over clusters of near-duplicate queries of s = Σ r and n rows, Σ s², Σ s·n
    and Σ n²; over reported draws, how many, Σ r, Σ r² and the Σ of squared inverse propensities.
    largest (A, M): the largest |Γ|.
    """

    rows: Floats
    residual: Floats
    square: Floats
    cluster_square: Floats
    cluster_cross: Floats
    cluster_size: Floats
    draws: Floats
    drawn_residual: Floats
    drawn_square: Floats
    inverse_square: Floats
    largest: Floats

    @classmethod
    def empty(cls, count: int, arms: int, metrics: int) -> "TenantSums":
        """Of no row."""
        shapes = [(count, arms, metrics)] * (len(cls._fields) - 1)
        return cls(*map(np.zeros, [*shapes, (arms, metrics)]))

    def plus(self, other: "TenantSums") -> "TenantSums":
        """Over both sets of rows; no cluster may have rows in both."""
        largest = np.maximum(self.largest, other.largest)
        added = TenantSums(*(one + more for one, more in zip(self, other, strict=True)))
        return added._replace(largest=largest)


class Effects(NamedTuple):
    """estimate (T, A, M); variance (T, A, M) of its error, infinite where there is no estimate."""

    estimate: Floats
    variance: Floats


def tenant_sums(rows: TenantRows, count: int) -> TenantSums:
    """Of the tenants 0..count−1."""
    arms, metrics = rows.gamma.shape[1:]
    found = TenantSums.empty(count, arms, metrics)
    for a in range(arms):
        mine = np.flatnonzero((rows.tenants >= 0) & rows.usable[:, a])
        tenants = rows.tenants[mine]
        clusters = _clusters(tenants, rows.groups[mine])
        sizes = np.bincount(clusters.of_row, minlength=len(clusters.tenant)).astype(np.float64)
        found.rows[:, a] = _sums(tenants, None, count)[:, None]
        found.cluster_size[:, a] = _sums(clusters.tenant, sizes * sizes, count)[:, None]
        for m in range(metrics):
            gamma, inverse = rows.gamma[mine, a, m], rows.inverse[mine, a, m]
            residuals, drawn = gamma - rows.scores[mine, a, m], inverse > 0.0
            total = np.bincount(clusters.of_row, weights=residuals, minlength=len(sizes))
            found.residual[:, a, m] = _sums(tenants, residuals, count)
            found.square[:, a, m] = _sums(tenants, residuals**2, count)
            found.cluster_square[:, a, m] = _sums(clusters.tenant, total**2, count)
            found.cluster_cross[:, a, m] = _sums(clusters.tenant, total * sizes, count)
            found.draws[:, a, m] = _sums(tenants[drawn], None, count)
            found.drawn_residual[:, a, m] = _sums(tenants[drawn], residuals[drawn], count)
            found.drawn_square[:, a, m] = _sums(tenants[drawn], residuals[drawn] ** 2, count)
            found.inverse_square[:, a, m] = _sums(tenants, inverse**2, count)
            found.largest[a, m] = np.abs(gamma).max(initial=0.0)
    return found


def tenant_effects(sums: TenantSums) -> Effects:
    """The effects of the tenants, each on its own rows alone."""
    total = np.maximum(sums.rows, 1.0)
    estimate = sums.residual / total
    own = sums.cluster_square - 2.0 * estimate * sums.cluster_cross
    own = np.maximum(own + estimate**2 * sums.cluster_size, 0.0)
    # A few draws may agree by luck: no tenant's is below what all tenants' draws vary by.
    drawn = sums.drawn_square - 2.0 * estimate * sums.drawn_residual + estimate**2 * sums.draws
    inverse = sums.inverse_square
    pooled = np.maximum(drawn, 0.0).sum(axis=0) / np.maximum(inverse.sum(axis=0), 1e-12)
    variance = np.maximum(own, pooled * inverse) / total**2
    known = (sums.draws >= MIN_DRAWS) & (variance > (_ROUNDING * sums.largest) ** 2)
    return Effects(np.where(known, estimate, 0.0), np.where(known, variance, np.inf))


class _Clusters(NamedTuple):
    """of_row (n,): near-duplicate queries of one tenant share a number; tenant (C,) whose."""

    of_row: Ints
    tenant: Ints


def _clusters(tenants: Ints, groups: Ints) -> _Clusters:
    width = int(groups.max(initial=0)) + 1
    codes, of_row = np.unique(tenants * width + groups, return_inverse=True)
    return _Clusters(of_row, codes // width)


def _sums(numbers: Ints, values: Floats | Ints | None, count: int) -> Floats:
    """(T,) sums of the values by tenant, or counts."""
    return np.bincount(numbers, weights=values, minlength=count).astype(np.float64)
