"""Offsets by tenant around everybody's heads: learned by empirical Bayes, kept where they help.

Of a tenant only counts, means and variances enter, one of each per arm and metric: no text, no
feature row. A tenant with fewer than MIN_QUERIES different reported queries gets none.

The offsets of a metric are kept if its cross-fitted error falls, and all of them only if their
cross-fitted doubly robust value isn't clearly below that of the heads alone. The error decides,
since it tells more: on 20 synthetic logs of 4,000 decisions a true gain of 0.013 in value came with
a standard error of 0.011, and a fall of the error by 0.5 to 1 %.
"""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import NamedTuple

import msgspec
import numpy as np

from training.fit.cluster_sums import ClusterSums
from training.fit.shrinkage import Spread, fit_spread, shrunk
from training.fit.tenant_effects import TenantSums, tenant_effects
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
    """How offsets are judged: learnable (A, M) where there is anything to learn, signs (M,) +1
    where more of the metric is better; `gained` gives the doubly robust value, over that of the
    heads alone, of rows with the offsets (T, A, M) of their fold.
    """

    learnable: Bools
    signs: Floats
    gained: Callable[[Mapping[int, Floats]], ClusterSums]


def large_tenants(queries: Mapping[str, int]) -> tuple[list[str], int]:
    """The tenants with MIN_QUERIES different reported queries, sorted, and how many have less."""
    large = sorted(tenant for tenant, count in queries.items() if count >= MIN_QUERIES)
    return large, len(queries) - len(large)


def fit_offsets(
    by_fold: Mapping[int, TenantSums],
    tenants: list[str],
    too_small: int,
    metrics: tuple[str, ...],
    trial: Trial,
) -> TenantFit:
    """Learn the tenants' offsets, and keep those that help on rows they weren't learned from.

    Args:
        by_fold: the tenants' sums.
        tenants: two or more with enough queries.
        too_small: how many have too few, for the report.
        metrics: the metrics' names.
        trial: how the offsets are judged.
    """
    offsets, spreads = _learned(by_fold, frozenset(), trial)
    held_out = {fold: _learned(by_fold, frozenset({fold}), trial)[0] for fold in by_fold}
    ratios = _error_ratios(by_fold, held_out, trial.learnable)
    kept = (ratios < 1.0) & offsets.any(axis=(0, 1))
    offsets = np.where(kept, offsets, 0.0)
    gained = trial.gained({fold: np.where(kept, mine, 0.0) for fold, mine in held_out.items()})
    advantage, error = float(gained.means[0]), float(gained.standard_errors[0])
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


def _learned(
    by_fold: Mapping[int, TenantSums], without: frozenset[int], trial: Trial
) -> tuple[Floats, list[Spread]]:
    """(T, A, M) offsets by all folds but these, and each metric's spread.

    A fold's outcomes enter the others' pseudo-outcomes through the reward models only, where a
    doubly robust mean doesn't feel them (Chernozhukov et al. 2018).
    """
    first = next(iter(by_fold.values()))
    others = (sums for fold, sums in by_fold.items() if fold not in without)
    total = reduce(TenantSums.plus, others, TenantSums.empty(*first.residual.shape))
    effects, variances = tenant_effects(total)
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


def _error_ratios(
    by_fold: Mapping[int, TenantSums], offsets: Mapping[int, Floats], learnable: Bools
) -> Floats:
    """(M,) squared error with offsets over that without; each arm's counts by its precision."""
    without = with_them = np.zeros(learnable.shape)
    for fold, sums in by_fold.items():
        mine = offsets[fold]
        without = without + sums.square.sum(axis=0)
        apart = sums.square - 2.0 * mine * sums.residual + mine**2 * sums.rows
        with_them = with_them + apart.sum(axis=0)
    some = learnable & (without > 0.0)
    ratios = np.where(some, with_them / np.where(some, without, 1.0), 0.0)
    return np.asarray(ratios.sum(axis=0) / np.maximum(some.sum(axis=0), 1))
