"""The gate's conditions, each a pure function of a candidate on rounds."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec
import numpy as np

from training.amounts import good_direction
from training.judge.judged_policy import OnRounds, Unseen
from training.judge.looks import normal_quantile
from training.judge.ope import Z95, Estimate, Sample, advantage_sample, overlap, paired_advantage
from training.judge.slices import MIN_SLICE_ROWS, Slice
from training.log.rounds import Bools, Floats, LoggedRounds

MIN_EFFECTIVE = 1_000
# Reported draws of every arm that the candidate uses.
MIN_ARM_ROWS = 200
# Weights of a right log average to 1; further than this many standard errors from it, something
# about the propensities is wrong.
MAX_WEIGHT_Z = 4.0
# A candidate uses an arm that its greedy choice takes this often.
USES_ARM = 0.01
# By metric, how much worse the candidate may be than the incumbent; significantly worse is refused.
DEFAULT_GUARDRAILS: Mapping[str, float] = {"quality": 0.0}
# By tenant and metric, the same for its rounds alone.
TenantGuardrails = Mapping[str, Mapping[str, float]]
NO_TENANT_GUARDRAILS: TenantGuardrails = MappingProxyType({})
_NO_USE = "more decisions alone are unlikely to change that"


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One condition; `more_rows` is None where more data alone can't be said to help."""

    name: str
    passed: bool
    detail: str
    more_rows: int | None = None


def advantage_of(on: OnRounds) -> Estimate:
    """The candidate's advantage over the incumbent, both with the exploration they serve with."""
    return paired_advantage(on.sample, on.incumbent)


def advantage_without_exploration(on: OnRounds) -> Estimate:
    """The advantage of the candidate's best arms over the incumbent's likeliest ones.

    The candidate may be meant to explore less than what served; that alone must not promote it.
    """
    greedy = np.zeros_like(on.incumbent)
    greedy[np.arange(len(greedy)), on.greedy] = 1.0
    return paired_advantage(on.sample._replace(action_dist=greedy), on.incumbent_greedy)


def proven(name: str, advantage: Estimate, rows: int, alpha: float) -> Condition:
    """That an advantage is above 0, one-sided at alpha."""
    value, error = advantage.value, advantage.standard_error or 0.0
    wide = normal_quantile(alpha) * error
    more = None
    if value - wide <= 0.0 < value and math.isfinite(error):
        more = math.ceil(rows * ((wide / value) ** 2 - 1.0)) + 1
    hopeless = "" if value > 0.0 else f"; {_NO_USE}"
    return Condition(
        name=name,
        passed=value - wide > 0.0,
        detail=f"{value:+.4f} over the incumbent, {1.0 - 2.0 * alpha:.4g} interval from "
        f"{value - wide:+.4f} to {value + wide:+.4f}; the lower bound must be above 0{hopeless}",
        more_rows=more,
    )


def measured(weights: Floats, rounds: LoggedRounds) -> Condition:
    """That something the objective weighs was reported: a metric that wasn't counts as what the
    serving policy expected of it, and expectations prove nothing by themselves.
    """
    weighed = (weights != 0.0).any(axis=0)
    known = [name for m, name in enumerate(rounds.metrics) if weighed[m] and rounds.observed[m]]
    return Condition(
        name="feedback",
        passed=bool(known),
        detail=f"the objective weighs {', '.join(known)}, which was reported"
        if known
        else "nothing that the objective weighs was reported: report it to /v1/feedback",
    )


def effective_size(sample: Sample) -> Condition:
    """That the weights leave enough of the log."""
    size = overlap(sample).effective_sample_size
    passed = size >= MIN_EFFECTIVE
    return Condition(
        name="effective sample size",
        passed=passed,
        detail=f"{size:,.0f} of {len(sample):,} rounds; {MIN_EFFECTIVE:,} are needed",
        more_rows=None if passed or size == 0.0 else _to_reach(MIN_EFFECTIVE, size, sample),
    )


def _to_reach(wanted: float, now: float, sample: Sample) -> int:
    return math.ceil(len(sample) * (wanted / now - 1.0))


def support(on: OnRounds, rounds: LoggedRounds) -> Condition:
    """That every arm which the candidate uses was drawn, and its outcome reported, often enough."""
    reported = np.isfinite(on.sample.pscore)
    draws = np.bincount(rounds.action[reported], minlength=len(rounds.arms))
    share = np.bincount(on.greedy, minlength=len(rounds.arms)) / len(rounds)
    used = np.flatnonzero(share >= USES_ARM)
    thin = [arm for arm in used if draws[arm] < MIN_ARM_ROWS]
    counts = ", ".join(f"{rounds.arms[arm]} {draws[arm]:,}" for arm in used)
    more, never = None, ""
    if thin and min(draws[arm] for arm in thin) > 0:
        more = max(_to_reach(MIN_ARM_ROWS, float(draws[arm]), on.sample) for arm in thin)
    elif thin:
        never = "; one was never drawn and reported: raise exploration.floor, or ask for feedback"
    return Condition(
        name="support",
        passed=not thin,
        detail=f"reported draws of the arms it uses: {counts}; {MIN_ARM_ROWS} of each are needed"
        f"{never}",
        more_rows=more,
    )


def propensities(sample: Sample) -> Condition:
    """That the logged propensities can be right."""
    found = overlap(sample)
    passed = abs(found.mean_weight_z) <= MAX_WEIGHT_Z
    wrong = "" if passed else "; a longer log of the same writer won't mend it: check what draws"
    return Condition(
        name="propensities",
        passed=passed,
        detail=f"the mean weight is {found.mean_weight:.3f}, {found.mean_weight_z:+.1f} standard "
        f"errors from the 1 of a right log{wrong}",
    )


def guardrails(
    on: OnRounds,
    weights: Floats,
    rounds: LoggedRounds,
    tolerated: Mapping[str, float],
    by_tenant: TenantGuardrails = NO_TENANT_GUARDRAILS,
) -> list[Condition]:
    """That no such metric is significantly worse than the incumbent's by more than is tolerated:
    over all rounds, and over those of each tenant with guardrails of its own.
    """
    everyone = np.ones(len(rounds), dtype=np.bool_)
    found = [
        _guardrail(f"guardrail {metric}", metric, tolerance, everyone, on, weights, rounds)
        for metric, tolerance in tolerated.items()
    ]
    for tenant, own in by_tenant.items():
        mine = np.asarray(rounds.tenants.astype(str) == tenant)
        for metric, tolerance in own.items():
            name = f"guardrail {metric} of tenant {tenant}"
            found.append(_guardrail(name, metric, tolerance, mine, on, weights, rounds))
    return found


def _guardrail(
    name: str,
    metric: str,
    tolerance: float,
    rows: Bools,
    on: OnRounds,
    weights: Floats,
    rounds: LoggedRounds,
) -> Condition:
    if metric not in on.metrics:
        return Condition(name=name, passed=True, detail="not checked: it was never reported")
    m = rounds.metrics.index(metric)
    reported = int((rows & ~np.isnan(rounds.values[:, m])).sum())
    if reported < MIN_SLICE_ROWS and not rows.all():
        detail = f"not checked: {reported} rounds reported it, {MIN_SLICE_ROWS} are needed"
        return Condition(name=name, passed=True, detail=detail)
    sign = good_direction(metric, rounds.values[:, m], float(weights[:, m].mean()))
    change = paired_advantage(on.metrics[metric].rows(rows), on.incumbent[rows])
    wide = Z95 * (change.standard_error or 0.0)
    passed = sign * change.value + wide >= -tolerance
    return Condition(
        name=name,
        passed=passed,
        detail=f"{change.value:+.4f} against the incumbent's, ± {wide:.4f}; worse by "
        f"{tolerance:g} is tolerated" + ("" if passed else f"; {_NO_USE}"),
    )


def advantage_by_round(on: OnRounds) -> Sample:
    """The sample whose DR value is the advantage, for slices."""
    return advantage_sample(on.sample, on.incumbent)


def slices(found: Sequence[Slice]) -> Condition:
    """That the candidate is significantly worse in no slice."""
    worse = [piece for piece in found if piece.worse]
    named = ", ".join(f"{piece.named} {piece.advantage.value:+.4f}" for piece in worse)
    kinds = ", ".join(dict.fromkeys(piece.by for piece in found)) or "tenant"
    return Condition(
        name="slices",
        passed=not worse,
        detail=f"significantly worse for {named}; {_NO_USE}"
        if worse
        else f"none of {len(found)} (by {kinds}) is significantly worse",
    )


def new_queries(mine: Unseen) -> Condition:
    """What of the rounds repeats the candidate's training queries; it refuses nothing."""
    return Condition(name="new queries", passed=True, detail=mine.explanation)
