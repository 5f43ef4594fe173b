"""`evaluate --logs`: what a policy would have earned on logged rounds it has never seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from policies.exploration import GREEDY, Exploration
from policies.policy import Policy
from training.judge.conditions import NO_TENANT_GUARDRAILS, TenantGuardrails
from training.judge.gate import Verdict, judge_on, nothing_unseen
from training.judge.intervals import intervals
from training.judge.judged_policy import OnRounds, Unseen, of_tenant, put_on_rounds, unseen
from training.judge.log_report import LogReport, MetricChange, ObjectiveReport, OverlapReport
from training.judge.ope import (
    ESTIMATORS,
    Estimate,
    Sample,
    advantage_sample,
    dr,
    overlap,
    paired_advantage,
)
from training.judge.reward_range import reward_range
from training.judge.slices import slices_of
from training.log.rounds import Floats, LoggedRounds
from training.utility import objective_weights


def evaluate_on_rounds(
    policy: Policy,
    rounds: LoggedRounds,
    *,
    objectives: Sequence[Mapping[str, float] | None],
    exploration: Exploration,
    tenant_guardrails: TenantGuardrails = NO_TENANT_GUARDRAILS,
    tenant: str | None = None,
    look: int = 1,
    seed: int = 0,
) -> LogReport:
    """Off-policy estimates on the explored rounds after the policy's training window.

    Where there are none, on those it was trained on, and the report says so; the gate refuses then.

    Args:
        policy: the candidate.
        rounds: the log's.
        objectives: by which to judge it, None for each round's own.
        exploration: what it would serve with.
        tenant_guardrails: as `training.judge.gate.judge` takes them.
        tenant: by this tenant's rounds alone.
        look: as how many looks at the incumbent the gate would count this; nothing is recorded.
        seed: of the folds and the bootstrap.

    Raises:
        EmptyLogError: too few rounds are left, or none is of that tenant.
        PolicyFitError: the policy doesn't fit the log's features or arms.
        ObjectiveError: an objective weighs a metric that the log doesn't have.
    """
    mine = unseen(rounds, policy, tenant)
    in_sample = len(mine.rounds) == 0
    if in_sample:
        mine = _all_explored(rounds, tenant)
    reports = []
    for objective in objectives:
        weights = objective_weights(mine.rounds, objective)
        on = put_on_rounds(policy, mine.rounds, weights, exploration, seed=seed)
        verdict = (
            nothing_unseen(policy.version, 0, "the policy was trained on all rounds of this log")
            if in_sample
            else judge_on(
                on,
                mine,
                weights,
                policy.version,
                tenant_guardrails=tenant_guardrails,
                look=look,
            )
        )
        reports.append(_report(on, mine, weights, objective, verdict, seed))
    return LogReport(
        policy=policy.version,
        rows=len(mine.rounds),
        in_sample=in_sample,
        window=[float(mine.rounds.at[0]), float(mine.rounds.at[-1])],
        counts=rounds.counts,
        objectives=reports,
        tenant=tenant,
        left_out=mine.left_out,
        new_queries=mine.explanation,
    )


def _all_explored(rounds: LoggedRounds, tenant: str | None) -> Unseen:
    keep = rounds.explored
    if tenant is not None:
        keep = keep & of_tenant(rounds, tenant)
    kept = rounds.rows(keep)
    return Unseen(kept, np.zeros(len(kept), dtype=np.bool_), 0)


def _report(
    on: OnRounds,
    mine: Unseen,
    weights: Floats,
    objective: Mapping[str, float] | None,
    verdict: Verdict,
    seed: int,
) -> ObjectiveReport:
    rounds = mine.rounds
    greedy = on.sample._replace(action_dist=_one_hot(on.greedy, len(rounds.arms)))
    advantage = advantage_sample(on.sample, on.incumbent)
    share = on.sample.action_dist.mean(axis=0)
    return ObjectiveReport(
        objective=None if objective is None else dict(objective),
        estimates={name: estimate(on.sample) for name, estimate in ESTIMATORS.items()},
        incumbent=dr(_logged(on.sample, on)),
        advantage=paired_advantage(on.sample, on.incumbent),
        greedy=dr(greedy),
        greedy_advantage=paired_advantage(greedy, on.incumbent),
        fixed_arms=_fixed_arms(on, rounds),
        metrics={
            metric: MetricChange(
                candidate=dr(sample),
                incumbent=dr(_logged(sample, on)),
                advantage=paired_advantage(sample, on.incumbent),
            )
            for metric, sample in on.metrics.items()
        },
        overlap=_overlap(on, rounds),
        share=dict(zip(rounds.arms, share.tolist(), strict=True)),
        gate=verdict,
        intervals=intervals(advantage, reward_range(rounds, weights), seed=seed),
        slices=slices_of(advantage, rounds, mine.trained),
    )


_QUANTILES = (0.1, 0.5, 0.9, 0.99, 0.999)


def _overlap(on: OnRounds, rounds: LoggedRounds) -> OverlapReport:
    found = overlap(on.sample)
    weights = on.sample.weights[np.isfinite(on.sample.pscore)]
    quantiles = np.quantile(weights, _QUANTILES).tolist() if len(weights) else []
    common = np.minimum(on.sample.action_dist, rounds.probabilities).sum(axis=1)
    return OverlapReport(
        effective_sample_size=found.effective_sample_size,
        largest_weight=found.largest_weight,
        mean_weight=found.mean_weight,
        mean_weight_z=found.mean_weight_z,
        support=dict(zip(rounds.arms, found.support.tolist(), strict=True)),
        weight_quantiles={f"{share:g}": q for share, q in zip(_QUANTILES, quantiles, strict=False)},
        common_mass=float(common.mean()),
    )


def _logged(sample: Sample, on: OnRounds) -> Sample:
    return sample._replace(action_dist=on.incumbent)


def _one_hot(arm: np.ndarray[Any, np.dtype[np.intp]], arms: int) -> Any:
    return np.eye(arms)[arm]


def _fixed_arms(on: OnRounds, rounds: LoggedRounds) -> dict[str, Estimate]:
    """Always taking one arm, where every round could have drawn it."""
    estimates = {}
    for a, arm in enumerate(rounds.arms):
        if rounds.eligible[:, a].all():
            always = _one_hot(np.full(len(rounds), a), len(rounds.arms))
            estimates[arm] = dr(on.sample._replace(action_dist=always))
    return estimates


def default_exploration(exploration: Exploration | None, greedy: bool) -> Exploration:
    """What the policy is evaluated with."""
    return GREEDY if greedy else exploration or Exploration()
