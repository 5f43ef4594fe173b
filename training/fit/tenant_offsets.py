"""Offsets by tenant around everybody's heads: learned by empirical Bayes, kept where they help.

Of a tenant only counts, means and variances enter, one of each per arm and metric: no text, no
feature row. A tenant with fewer than MIN_QUERIES different reported queries gets none.

The offsets of a metric are kept if its cross-fitted error falls, and all of them only if their
cross-fitted doubly robust value isn't clearly below that of the heads alone. The error decides,
since it tells more: on 20 synthetic logs of 4,000 decisions a true gain of 0.013 in value came with
a standard error of 0.011, and a fall of the error by 0.5 to 1 %.
"""

from typing import NamedTuple

import msgspec
import numpy as np

from training.fit.folds import Ints
from training.fit.shrinkage import Spread, fit_spread, shrunk
from training.fit.tenant_effects import TenantRows, expected_of, tenant_effects
from training.judge.ope import standard_error
from training.log.rounds import Bools, Floats

# From fewer different queries, a tenant's mean could give away single outcomes.
MIN_QUERIES = 100
# Standard errors by which a value must be lower to be clearly so, as for candidates.
_CLEARLY = 2.0


class MetricOffsets(msgspec.Struct, frozen=True, kw_only=True):
    """How far tenants spread on a metric, on its heads' scale: in common and by arm; and the
    cross-fitted squared error with offsets, as a share of the error without.
    """

    spread_common: float
    spread_by_arm: float
    error_ratio: float
    kept: bool


class TenantReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned of tenants, without their names.

    `tenants` have offsets, `too_small` have too few queries for any. `advantage` is the
    cross-fitted value of the offsets over the heads alone, None where there were none to judge.
    """

    tenants: int
    too_small: int
    min_queries: int = MIN_QUERIES
    metrics: dict[str, MetricOffsets] = {}
    advantage: float | None = None
    standard_error: float | None = None


class TenantFit(NamedTuple):
    """offsets: by tenant, (A, M); and how they came about."""

    offsets: dict[str, Floats]
    report: TenantReport


# Where tenants aren't looked at.
NO_TENANTS = TenantFit({}, TenantReport(tenants=0, too_small=0))


class Trial(NamedTuple):
    """How offsets are judged: folds (n,), weights (n, M) of each round's objective, learnable
    (A, M) where there is anything to learn, signs (M,) +1 where more of the metric is better.
    """

    folds: Ints
    weights: Floats
    learnable: Bools
    signs: Floats


def large_tenants(names: np.ndarray, groups: Ints, reported: Bools) -> tuple[list[str], int]:
    """The tenants with MIN_QUERIES different reported queries, and how many named ones have less.

    Args:
        names: (n,) each round's tenant, empty for none.
        groups: (n,) the same number for near-duplicate queries.
        reported: (n,) whether anything is known of the round's outcome.
    """
    named = {tenant for tenant in names.tolist() if tenant}
    pairs = set(zip(names[reported].tolist(), groups[reported].tolist(), strict=True))
    queries = dict.fromkeys(named, 0)
    for tenant, _ in pairs:
        if tenant:
            queries[tenant] += 1
    large = sorted(tenant for tenant, count in queries.items() if count >= MIN_QUERIES)
    return large, len(named) - len(large)


def numbered(names: np.ndarray, tenants: list[str]) -> Ints:
    """(n,) each round's tenant as its position among these, −1 for others."""
    position = {tenant: number for number, tenant in enumerate(tenants)}
    return np.array([position.get(name, -1) for name in names.tolist()], dtype=np.intp)


def fit_offsets(
    rows: TenantRows, tenants: list[str], too_small: int, metrics: tuple[str, ...], trial: Trial
) -> TenantFit:
    """Learn the tenants' offsets, and keep those that help on rows they weren't learned from.

    Args:
        rows: of these tenants by number, and of others.
        tenants: the tenants with enough queries.
        too_small: how many have too few, for the report.
        metrics: the metrics' names.
        trial: how the offsets are judged.
    """
    nothing = TenantFit({}, TenantReport(tenants=0, too_small=too_small))
    if len(tenants) < 2:
        return nothing  # one tenant's outcomes are everybody's
    offsets, spreads = _learned(rows, len(tenants), trial)
    held_out = _cross_fitted(rows, len(tenants), trial)
    ratios = _error_ratios(rows, held_out, trial.learnable)
    kept = (ratios < 1.0) & offsets.any(axis=(0, 1))
    held_out, offsets = np.where(kept, held_out, 0.0), np.where(kept, offsets, 0.0)
    gained = _gained(rows, held_out, trial)
    advantage, error = float(gained.mean()), standard_error(gained, rows.groups)
    harmful = advantage < -_CLEARLY * error
    report = TenantReport(
        tenants=0 if harmful or not kept.any() else len(tenants),
        too_small=too_small,
        metrics={
            metric: MetricOffsets(
                spread_common=spread.common,
                spread_by_arm=spread.by_arm,
                error_ratio=float(ratios[m]),
                kept=bool(kept[m]) and not harmful,
            )
            for m, (metric, spread) in enumerate(zip(metrics, spreads, strict=True))
        },
        advantage=advantage,
        standard_error=error,
    )
    if not report.tenants:
        return TenantFit({}, report)
    return TenantFit(dict(zip(tenants, offsets, strict=True)), report)


def _learned(rows: TenantRows, count: int, trial: Trial) -> tuple[Floats, list[Spread]]:
    """(T, A, M) offsets of the tenants 0..count−1, and each metric's spread."""
    effects, variances = tenant_effects(rows, count)
    variances = np.where(trial.learnable, variances, np.inf)
    effects = np.where(trial.learnable, effects, 0.0)
    offsets, spreads = np.zeros(effects.shape), []
    for m in range(effects.shape[2]):
        spread = fit_spread(effects[:, :, m], variances[:, :, m])
        offsets[:, :, m] = shrunk(effects[:, :, m], variances[:, :, m], spread)
        spreads.append(spread)
    return _pessimistic(offsets, trial), spreads


def _pessimistic(offsets: Floats, trial: Trial) -> Floats:
    """The offsets, with that of the worst-off arm for arms that nothing was learned of: their
    heads are worse than any other arm's on purpose, and stay so for every tenant.
    """
    learnable = trial.learnable
    towards_good = np.where(learnable, trial.signs * offsets, np.inf).min(axis=1, keepdims=True)
    worst = trial.signs * np.minimum(np.where(np.isfinite(towards_good), towards_good, 0.0), 0.0)
    return np.where(learnable, offsets, worst)


def _cross_fitted(rows: TenantRows, count: int, trial: Trial) -> Floats:
    """(n, A, M) each row's offsets, learned without its fold.

    A fold's outcomes enter the others' pseudo-outcomes through the reward models only, where a
    doubly robust mean doesn't feel them (Chernozhukov et al. 2018).
    """
    held_out = np.zeros(rows.scores.shape)
    for fold in np.unique(trial.folds):
        mine = trial.folds == fold
        offsets, _ = _learned(rows.rows(~mine), count, trial)
        held_out[mine] = offsets[rows.tenants[mine]]
    held_out[rows.tenants < 0] = 0.0
    return held_out


def _error_ratios(rows: TenantRows, offsets: Floats, learnable: Bools) -> Floats:
    """(M,) squared error with offsets over that without; each arm's counts by its precision."""
    counted = rows.usable & (rows.tenants >= 0)[:, None]
    without = np.where(counted[:, :, None], rows.residuals() ** 2, 0.0).sum(axis=0)
    with_them = np.where(counted[:, :, None], rows.residuals(offsets) ** 2, 0.0).sum(axis=0)
    some = learnable & (without > 0.0)
    ratios = np.where(some, with_them / np.where(some, without, 1.0), 0.0)
    return np.asarray(ratios.sum(axis=0) / np.maximum(some.sum(axis=0), 1))


def _gained(rows: TenantRows, offsets: Floats, trial: Trial) -> Floats:
    """(n,) doubly robust value of the arms chosen with offsets, less that of those without."""
    earned = np.einsum("nam,nm->na", rows.gamma, trial.weights)

    def chosen(added: Floats | float) -> Ints:
        expected = expected_of(rows.scores + added, rows.links)
        liked = np.einsum("nam,nm->na", expected, trial.weights)
        return np.asarray(np.where(rows.usable, liked, -np.inf).argmax(axis=1))

    positions = np.arange(len(earned))
    return np.asarray(earned[positions, chosen(offsets)] - earned[positions, chosen(0.0)])
