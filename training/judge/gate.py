"""The gate: whether a candidate is proven better than what serves, on rounds it has never seen.

It promotes only when every condition holds; a refusal says which failed, with its numbers, and
where more data could settle it about how many more rounds that takes.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from policies.exploration import Exploration
from policies.policy import Policy
from training.amounts import good_direction
from training.errors import EmptyLogError
from training.judge.judged_policy import OnRounds, put_on_rounds, unseen
from training.judge.ope import (
    Z95,
    Estimate,
    Sample,
    advantage_rounds,
    dr,
    overlap,
    paired_advantage,
    standard_error,
)
from training.log.rounds import Floats, LoggedRounds
from training.utility import objective_weights

MIN_EFFECTIVE = 1_000
# Reported draws of every arm that the candidate uses.
MIN_ARM_ROWS = 200
# Weights of a right log average to 1; further than this many standard errors from it, something
# about the propensities is wrong.
MAX_WEIGHT_Z = 4.0
# A candidate uses an arm that its greedy choice takes this often.
USES_ARM = 0.01
# A tenant with fewer reported rounds can't be told from noise.
MIN_SLICE_ROWS = 100
# By metric, how much worse the candidate may be than the incumbent; significantly worse is refused.
DEFAULT_GUARDRAILS: Mapping[str, float] = {"quality": 0.0}


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One condition; `more_rows` is None where more data alone can't be said to help."""

    name: str
    passed: bool
    detail: str
    more_rows: int | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's answer and the numbers behind it.

    `candidate` and `incumbent` are values under the objective, `advantage` their paired difference.
    """

    promote: bool
    policy: str
    rows: int
    conditions: list[Condition]
    candidate: Estimate | None = None
    incumbent: Estimate | None = None
    advantage: Estimate | None = None

    def refusals(self) -> list[str]:
        """The failed conditions, each as a line."""
        return [f"{c.name}: {c.detail}{_settling(c)}" for c in self.conditions if not c.passed]


def _settling(condition: Condition) -> str:
    if condition.more_rows is None:
        return ""
    return f" (about {condition.more_rows:,} more decisions would settle it)"


def judge(
    rounds: LoggedRounds,
    candidate: Policy,
    objective: Mapping[str, float] | None = None,
    exploration: Exploration | None = None,
    *,
    guardrails: Mapping[str, float] = DEFAULT_GUARDRAILS,
    seed: int = 0,
) -> Verdict:
    """Judge a candidate on the explored rounds after its training window.

    Args:
        rounds: the log's rounds; those the candidate was trained on are left out here.
        candidate: the policy that wants to serve.
        objective: weights for all rounds; without it each round's own objective counts.
        exploration: what the candidate would serve with; the default exploration without it.
        guardrails: by metric, the tolerated worsening.
        seed: of the folds.

    Raises:
        PolicyFitError: the candidate doesn't fit the log's features or arms.
        ObjectiveError: the objective weighs a metric that the log doesn't have.
    """
    mine = unseen(rounds, candidate)
    weights = objective_weights(mine, objective)
    try:
        on = put_on_rounds(candidate, mine, weights, exploration or Exploration(), seed=seed)
        return judge_on(on, mine, weights, candidate.version, guardrails)
    except EmptyLogError as error:
        return nothing_unseen(candidate.version, len(mine), str(error))


def require_incumbent(verdict: Verdict, logged: str, active: str) -> Verdict:
    """The verdict, with the condition that the log is of the policy that is active now."""
    same = logged == active
    condition = Condition(
        name="incumbent",
        passed=same,
        detail=f"the log is of the active policy, {active}"
        if same
        else f"the log ends with decisions of {logged}, but {active} is active: let it serve, "
        "export again, and judge by that",
        more_rows=None if same else MIN_EFFECTIVE,
    )
    return msgspec.structs.replace(
        verdict,
        promote=verdict.promote and same,
        conditions=[condition, *verdict.conditions],
    )


def nothing_unseen(policy: str, rows: int, detail: str) -> Verdict:
    """The verdict on a policy that saw all there is, or nearly: refused."""
    condition = Condition(
        name="unseen rounds", passed=False, detail=detail, more_rows=MIN_EFFECTIVE
    )
    return Verdict(promote=False, policy=policy, rows=rows, conditions=[condition])


def judge_on(
    on: OnRounds,
    rounds: LoggedRounds,
    weights: Floats,
    policy: str,
    guardrails: Mapping[str, float] = DEFAULT_GUARDRAILS,
) -> Verdict:
    """Judge a candidate that is already put on rounds that it has never seen."""
    advantage = paired_advantage(on.sample, on.incumbent)
    conditions = [
        _advantage("advantage", advantage, len(rounds)),
        _advantage("better choices", _without_exploration(on), len(rounds)),
        _effective(on.sample),
        _support(on, rounds),
        _propensities(on.sample),
        *_guardrails(on, weights, rounds, guardrails),
        _slices(on, rounds),
    ]
    return Verdict(
        promote=all(condition.passed for condition in conditions),
        policy=policy,
        rows=len(rounds),
        conditions=conditions,
        candidate=dr(on.sample),
        incumbent=dr(on.sample._replace(action_dist=on.incumbent)),
        advantage=advantage,
    )


def _without_exploration(on: OnRounds) -> Estimate:
    """The advantage of the candidate's best arms over the incumbent's likeliest ones.

    The candidate may be meant to explore less than what served; that alone must not promote it.
    """
    greedy = np.zeros_like(on.incumbent)
    greedy[np.arange(len(greedy)), on.greedy] = 1.0
    return paired_advantage(on.sample._replace(action_dist=greedy), on.incumbent_greedy)


def _advantage(name: str, advantage: Estimate, rows: int) -> Condition:
    value, error = advantage.value, advantage.standard_error or 0.0
    lower = value - Z95 * error
    more = None
    if lower <= 0.0 < value and math.isfinite(error):
        more = math.ceil(rows * ((Z95 * error / value) ** 2 - 1.0)) + 1
    return Condition(
        name=name,
        passed=lower > 0.0,
        detail=f"{value:+.4f} over the incumbent, 95 % from {lower:+.4f} to "
        f"{value + Z95 * error:+.4f}; the lower bound must be above 0",
        more_rows=more,
    )


def _effective(sample: Sample) -> Condition:
    size = overlap(sample).effective_sample_size
    passed = size >= MIN_EFFECTIVE
    return Condition(
        name="effective sample size",
        passed=passed,
        detail=f"{size:,.0f} of {len(sample.action):,} rounds; {MIN_EFFECTIVE:,} are needed",
        more_rows=None if passed or size == 0.0 else _to_reach(MIN_EFFECTIVE, size, sample),
    )


def _to_reach(wanted: float, now: float, sample: Sample) -> int:
    return math.ceil(len(sample.action) * (wanted / now - 1.0))


def _support(on: OnRounds, rounds: LoggedRounds) -> Condition:
    reported = np.isfinite(on.sample.pscore)
    draws = np.bincount(rounds.action[reported], minlength=len(rounds.arms))
    share = np.bincount(on.greedy, minlength=len(rounds.arms)) / len(rounds)
    used = np.flatnonzero(share >= USES_ARM)
    thin = [arm for arm in used if draws[arm] < MIN_ARM_ROWS]
    counts = ", ".join(f"{rounds.arms[arm]} {draws[arm]:,}" for arm in used)
    more = None
    if thin and min(draws[arm] for arm in thin) > 0:
        more = max(_to_reach(MIN_ARM_ROWS, float(draws[arm]), on.sample) for arm in thin)
    return Condition(
        name="support",
        passed=not thin,
        detail=f"reported draws of the arms it uses: {counts}; {MIN_ARM_ROWS} of each are needed",
        more_rows=more,
    )


def _propensities(sample: Sample) -> Condition:
    found = overlap(sample)
    return Condition(
        name="propensities",
        passed=abs(found.mean_weight_z) <= MAX_WEIGHT_Z,
        detail=f"the mean weight is {found.mean_weight:.3f}, {found.mean_weight_z:+.1f} standard "
        "errors from the 1 of a right log",
    )


def _guardrails(
    on: OnRounds, weights: Floats, rounds: LoggedRounds, guardrails: Mapping[str, float]
) -> list[Condition]:
    """A metric may not be significantly worse than the incumbent's by more than is tolerated."""
    conditions = []
    for metric, tolerance in guardrails.items():
        if metric not in on.metrics:
            detail = "not checked: it was never reported"
            conditions.append(Condition(name=f"guardrail {metric}", passed=True, detail=detail))
            continue
        m = rounds.metrics.index(metric)
        sign = good_direction(metric, rounds.values[:, m], float(weights[:, m].mean()))
        change = paired_advantage(on.metrics[metric], on.incumbent)
        best = sign * change.value + Z95 * (change.standard_error or 0.0)
        conditions.append(
            Condition(
                name=f"guardrail {metric}",
                passed=best >= -tolerance,
                detail=f"{change.value:+.4f} against the incumbent's, ± "
                f"{Z95 * (change.standard_error or 0.0):.4f}; worse by {tolerance:g} is tolerated",
            )
        )
    return conditions


class _Slice(NamedTuple):
    tenant: str
    advantage: float
    p_value: float


def _slices(on: OnRounds, rounds: LoggedRounds) -> Condition:
    """No tenant significantly worse: one-sided tests at 5 %, with Holm's (1979) correction."""
    differences = advantage_rounds(on.sample, on.incumbent)
    reported = np.isfinite(on.sample.pscore)
    slices = []
    for tenant in sorted(set(rounds.tenants.tolist())):
        mine = rounds.tenants == tenant
        if int((mine & reported).sum()) < MIN_SLICE_ROWS:
            continue
        error = standard_error(differences[mine], rounds.groups[mine])
        mean = float(differences[mine].mean())
        z = mean / error if error > 0.0 else math.copysign(math.inf, mean) if mean else 0.0
        slices.append(_Slice(tenant, mean, 0.5 * math.erfc(-z / math.sqrt(2.0))))
    worse = []
    for rank, piece in enumerate(sorted(slices, key=lambda s: s.p_value)):
        if piece.p_value > 0.05 / (len(slices) - rank):
            break
        worse.append(piece)
    named = ", ".join(f"{s.tenant or '(none)'} {s.advantage:+.4f}" for s in worse)
    return Condition(
        name="slices",
        passed=not worse,
        detail=f"significantly worse for tenants {named}"
        if worse
        else f"none of {len(slices)} tenants is significantly worse",
    )
