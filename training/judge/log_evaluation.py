"""`evaluate --logs`: what a policy would have earned on logged rounds it has never seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from policies.exploration import GREEDY, Exploration
from policies.policy import Policy
from training.judge.conditions import NO_TENANT_GUARDRAILS, TenantGuardrails
from training.judge.gate import Verdict, judge_on, nothing_unseen
from training.judge.intervals import intervals
from training.judge.judged_log import JudgedLog
from training.judge.judged_policy import OnRounds, Unseen, put_on_rounds
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
from training.log.rounds import Floats, LoggedRounds, RoundCounts
from training.utility import objective_weights


def evaluate_log(
    policy: Policy,
    found: JudgedLog,
    counts: RoundCounts,
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
        found: the rounds to judge it by.
        counts: of the log.
        objectives: by which to judge it, None for each round's own.
        exploration: what it would serve with.
        tenant_guardrails: as `training.judge.gate.judge` takes them.
        tenant: the one whose rounds these are, None for all.
        look: as how many looks at the incumbent the gate would count this; nothing is recorded.
        seed: of the folds and the bootstrap.

    Raises:
        EmptyLogError: too few rounds are left.
        PolicyFitError: the policy doesn't fit the log's features or arms.
        ObjectiveError: an objective weighs a metric that the log doesn't have.
    """
    mine = found.mine
    weights_of = [objective_weights(mine.rounds, objective) for objective in objectives]
    reads = found.read(objectives, exploration) if mine.enough else [None] * len(objectives)
    reports = []
    for objective, weights, read in zip(objectives, weights_of, reads, strict=True):
        on = put_on_rounds(policy, mine.rounds, weights, exploration, seed=seed, read=read)
        verdict = (
            nothing_unseen(policy.version, 0, "the policy was trained on all rounds of this log")
            if found.in_sample
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
        in_sample=found.in_sample,
        window=[float(mine.rounds.at[0]), float(mine.rounds.at[-1])],
        counts=counts,
        objectives=reports,
        tenant=tenant,
        left_out=mine.left_out,
        new_queries=mine.explanation,
    )


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
