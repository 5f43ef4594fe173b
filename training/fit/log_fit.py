"""Learning from logged rounds: fit the candidates, choose one by its doubly robust value.

Everything is cross-fitted over folds grouped by near-duplicate query: a candidate's value on a fold
comes from pseudo-outcomes and heads of which neither saw that fold (the reward models behind the
heads' training targets included).

DEFAULT, the joint model, is kept unless another candidate's value is above it by two standard
errors of the paired difference: the best-looking of a dozen noisy values is mostly the luckiest.

All rows are seen in passes over the log's parts alone, each of which gives sums that add up:
moments of the features, the joint model's equations, sums of pseudo-outcomes, values, and two more
for tenants. What is solved is solved here, so memory doesn't grow with the log.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from policies.posterior import Posterior
from training.fit.candidates import JOINT, Recipe, fit_candidates, recipes
from training.fit.cluster_sums import ClusterSums
from training.fit.feature_scale import FeatureScale
from training.fit.first_pass import FirstPass
from training.fit.heads import Heads
from training.fit.log_evidence import LogEvidence
from training.fit.log_passes import LogPasses
from training.fit.posterior import posterior_of
from training.fit.target_pass import Nuisance
from training.fit.tenant_offsets import NO_TENANTS, TenantFit, Trial, fit_offsets, large_tenants
from training.fit.tenant_pass import AroundHeads
from training.fit.training_rows import FOLDS
from training.fit.value_pass import Judged, ValueSums

DEFAULT = JOINT
# Standard errors by which another candidate must be better.
_CLEARLY = 2.0


class CandidateValue(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate's cross-fitted value above the incumbent's, as logged, on the training rounds."""

    name: str
    advantage: float
    standard_error: float
    share: dict[str, float]


class LogFit(NamedTuple):
    """The chosen heads, and what they were chosen on and from; a filter of the trained queries."""

    heads: Heads
    scale: FeatureScale
    chosen: Recipe
    candidates: list[CandidateValue]
    fixed_arms: list[CandidateValue]
    incumbent_value: float
    draws: dict[str, int]
    tenants: TenantFit
    posterior: Posterior
    contrast_penalties: dict[str, dict[str, float]]
    alike: dict[str, dict[str, float]]
    query_filter: str


def fit_log(passes: LogPasses, first: FirstPass, *, tenants: bool = True) -> LogFit:
    """Learn heads from a log.

    Args:
        passes: over the log's parts.
        first: what the first of them found.
        tenants: whether to learn what tenants' outcomes add.
    """
    known = passes.second(first)
    evidence = known.evidence
    wanted = recipes(evidence.counts.tells_apart)
    by_fold = _cross_fitted(evidence, wanted)
    heads = {fold: _stacked(list(fitted.values())) for fold, fitted in by_fold.items()}
    values = passes.values(Judged(known.nuisance, heads, wanted.index(DEFAULT)))
    chosen = wanted[clearly_best(values.ahead, wanted.index(DEFAULT))]
    everything = evidence.everything()
    ((_, final),) = fit_candidates(everything, [chosen])
    moments = evidence.moments.heads
    arms, metrics = everything.y.shape
    names = passes.arms
    return LogFit(
        heads=final,
        scale=evidence.scale,
        chosen=chosen,
        candidates=[
            _summary(recipe.name, values, position, names) for position, recipe in enumerate(wanted)
        ],
        fixed_arms=[
            _summary(arm, values, len(wanted) + position, names)
            for position, arm in enumerate(names)
            if evidence.counts.any_metric[position]
        ],
        incumbent_value=values.incumbent / values.advantage.rows,
        draws={
            arm: int(count)
            for arm, count in zip(names, evidence.counts.any_metric.tolist(), strict=True)
        },
        tenants=_tenants(
            passes, evidence, known.nuisance, {f: fitted[chosen] for f, fitted in by_fold.items()}
        )
        if tenants
        else NO_TENANTS,
        posterior=posterior_of(
            [[moments[arm, m] for m in range(metrics)] for arm in range(arms)],
            evidence.scale,
            evidence.counts.prior,
        ),
        contrast_penalties=evidence.joint.contrast_penalties(passes.metrics),
        alike=evidence.joint.correlations(passes.metrics),
        query_filter=known.query_filter,
    )


def _cross_fitted(
    evidence: LogEvidence, wanted: Sequence[Recipe]
) -> dict[int, dict[Recipe, Heads]]:
    """Every candidate, by the fold that it never saw."""
    without = {fold: evidence.without(fold) for fold in range(FOLDS)}
    return {
        fold: dict(fit_candidates(others, wanted))
        for fold, others in without.items()
        if others is not None
    }


def _stacked(heads: Sequence[Heads]) -> Heads:
    """(C·A, M, d) one after the other."""
    return Heads(
        np.concatenate([one.coefficients for one in heads]),
        np.concatenate([one.intercepts for one in heads]),
        heads[0].links,
    )


def _tenants(
    passes: LogPasses, evidence: LogEvidence, nuisance: Nuisance, heads: dict[int, Heads]
) -> TenantFit:
    """What tenants' outcomes add to the chosen candidate, as its cross-fitted heads tell."""
    large, too_small = large_tenants(evidence.counts.tenants)
    if len(large) < 2:  # one tenant's outcomes are everybody's
        return NO_TENANTS._replace(
            report=msgspec.structs.replace(NO_TENANTS.report, too_small=too_small)
        )
    around = AroundHeads(nuisance, heads, tuple(large))
    learnable = evidence.supported[:, None] & evidence.counts.observed
    trial = Trial(learnable, evidence.signs, lambda offsets: passes.gained(around, offsets))
    return fit_offsets(passes.tenants(around), large, too_small, passes.metrics, trial)


def clearly_best(ahead: ClusterSums, default: int) -> int:
    """The candidate whose lower bound over the default is highest and above 0.

    `ahead` is what each has earned over the default. The bound is two standard errors of the paired
    difference, robust to near-duplicate rows; without such a candidate it is the default.
    """
    bounds = ahead.means - _CLEARLY * ahead.standard_errors
    chosen, highest = default, 0.0
    for index, bound in enumerate(bounds.tolist()):
        if index != default and bound > highest:
            chosen, highest = index, bound
    return chosen


def _summary(name: str, values: ValueSums, position: int, arms: Sequence[str]) -> CandidateValue:
    """A candidate's, or behind them a fixed arm's."""
    candidates = len(values.choices)
    share = (
        np.eye(len(arms))[position - candidates]
        if position >= candidates
        else (values.choices[position] / values.advantage.rows)
    )
    return CandidateValue(
        name=name,
        advantage=float(values.advantage.means[position]),
        standard_error=float(values.advantage.standard_errors[position]),
        share=dict(zip(arms, share.tolist(), strict=True)),
    )
