"""The gate: whether a candidate is proven better than what serves, on rounds it has never seen.

It promotes only when every condition holds; a refusal says which failed, with its numbers, and
where more data could settle it about how many more rounds that takes. What must be proven is
tested at the level that is left for this look at the incumbent (`training.judge.looks`).
"""

from collections.abc import Collection, Mapping

import msgspec

from policies.exploration import Exploration
from policies.policy import Policy
from training.errors import EmptyLogError
from training.judge import conditions
from training.judge.conditions import (
    DEFAULT_GUARDRAILS,
    MIN_EFFECTIVE,
    NO_TENANT_GUARDRAILS,
    Condition,
    TenantGuardrails,
)
from training.judge.judged_policy import OnRounds, RowValues, Unseen, put_on_rounds, unseen
from training.judge.looks import alpha_of_look
from training.judge.ope import Estimate, dr
from training.judge.slices import Slice, slices_of
from training.log.rounds import Floats, LoggedRounds
from training.utility import objective_weights

__all__ = [
    "DEFAULT_GUARDRAILS",
    "MIN_EFFECTIVE",
    "Condition",
    "Verdict",
    "incumbent_condition",
    "judge",
    "judge_on",
    "judge_unseen",
    "nothing_unseen",
    "require",
]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's answer and the numbers behind it.

    `candidate` and `incumbent` are values under the objective, `advantage` their paired difference,
    all with 95 % intervals; what was proven, was at the one-sided level `alpha`, left for this
    `look`. `left_out` counts later rounds that repeat queries which it was trained on.
    """

    promote: bool
    policy: str
    rows: int
    conditions: list[Condition]
    candidate: Estimate | None = None
    incumbent: Estimate | None = None
    advantage: Estimate | None = None
    slices: list[Slice] = []
    look: int = 1
    alpha: float = alpha_of_look(1)
    left_out: int = 0

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
    tenant_guardrails: TenantGuardrails = NO_TENANT_GUARDRAILS,
    tenant: str | None = None,
    look: int = 1,
    seed: int = 0,
) -> Verdict:
    """Judge a candidate on the explored rounds after its training window.

    Args:
        rounds: the log's rounds; those the candidate was trained on are left out here.
        candidate: the policy that wants to serve.
        objective: weights for all rounds; without it each round's own objective counts.
        exploration: what the candidate would serve with; the default exploration without it.
        guardrails: by metric, the tolerated worsening.
        tenant_guardrails: by tenant and metric, the same over its rounds alone.
        tenant: judge by this tenant's rounds alone.
        look: how many looks at this incumbent this makes, as the registry counts them.
        seed: of the folds.

    Raises:
        PolicyFitError: the candidate doesn't fit the log's features or arms.
        ObjectiveError: the objective weighs a metric that the log doesn't have.
        EmptyLogError: the log has no such tenant.
    """
    return judge_unseen(
        unseen(rounds, candidate, tenant),
        candidate,
        objective,
        exploration,
        guardrails=guardrails,
        tenant_guardrails=tenant_guardrails,
        look=look,
        seed=seed,
    )


def judge_unseen(
    mine: Unseen,
    candidate: Policy,
    objective: Mapping[str, float] | None = None,
    exploration: Exploration | None = None,
    *,
    guardrails: Mapping[str, float] = DEFAULT_GUARDRAILS,
    tenant_guardrails: TenantGuardrails = NO_TENANT_GUARDRAILS,
    look: int = 1,
    seed: int = 0,
    read: RowValues | None = None,
) -> Verdict:
    """`judge`, on rounds that the candidate is known not to have seen; `read` is for rounds that
    have no features.
    """
    rounds = mine.rounds
    weights = objective_weights(rounds, objective)
    try:
        served = exploration or Exploration()
        on = put_on_rounds(candidate, rounds, weights, served, seed=seed, read=read)
    except EmptyLogError as error:
        return nothing_unseen(candidate.version, len(rounds), str(error))
    return judge_on(
        on,
        mine,
        weights,
        candidate.version,
        guardrails,
        tenant_guardrails=tenant_guardrails,
        look=look,
    )


def incumbent_condition(
    logged: str, active: str | None, published: Collection[str]
) -> Condition | None:
    """That the log is of what serves now; None where the rules serve and nothing speaks against it.

    Args:
        logged: the version that drew the log's last decisions.
        active: the version that is active, None while the built-in rules serve.
        published: the versions that the registry holds, which the rules' version isn't among.
    """
    if active is None and logged not in published:
        return None
    same = logged == active
    serves = "the built-in rules serve" if active is None else f"{active} is active"
    return Condition(
        name="incumbent",
        passed=same,
        detail=f"the log is of the active policy, {active}"
        if same
        else f"the log ends with decisions of {logged}, but {serves}: let that serve, export "
        "again, and judge by that",
        more_rows=None if same else MIN_EFFECTIVE,
    )


def require(verdict: Verdict, condition: Condition) -> Verdict:
    """The verdict with one more condition, named first."""
    return msgspec.structs.replace(
        verdict,
        promote=verdict.promote and condition.passed,
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
    mine: Unseen,
    weights: Floats,
    policy: str,
    guardrails: Mapping[str, float] = DEFAULT_GUARDRAILS,
    *,
    tenant_guardrails: TenantGuardrails = NO_TENANT_GUARDRAILS,
    look: int = 1,
) -> Verdict:
    """Judge a candidate that is already put on rounds that it has never seen."""
    rounds, alpha = mine.rounds, alpha_of_look(look)
    advantage = conditions.advantage_of(on)
    better_choices = conditions.advantage_without_exploration(on)
    slices = slices_of(conditions.advantage_by_round(on), rounds, mine.trained)
    found = [
        conditions.proven("advantage", advantage, len(rounds), alpha),
        conditions.proven("better choices", better_choices, len(rounds), alpha),
        conditions.measured(weights, rounds),
        conditions.effective_size(on.sample),
        conditions.support(on, rounds),
        conditions.propensities(on.sample),
        *conditions.guardrails(on, weights, rounds, guardrails, tenant_guardrails),
        conditions.slices(slices),
        conditions.new_queries(mine),
    ]
    return Verdict(
        promote=all(condition.passed for condition in found),
        policy=policy,
        rows=len(rounds),
        conditions=found,
        candidate=dr(on.sample),
        incumbent=dr(on.sample._replace(action_dist=on.incumbent)),
        advantage=advantage,
        slices=slices,
        look=look,
        alpha=alpha,
        left_out=mine.left_out,
    )
