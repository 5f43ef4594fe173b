"""`evaluate --logs`: what a policy would have earned on logged rounds it has never seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from rich.console import Group
from rich.table import Table

from policies.exploration import GREEDY, Exploration
from policies.policy import Policy
from training.judge.gate import Verdict, judge_on, nothing_unseen
from training.judge.judged_policy import OnRounds, put_on_rounds, unseen
from training.judge.ope import ESTIMATORS, Estimate, Sample, dr, overlap, paired_advantage
from training.log.rounds import LoggedRounds, RoundCounts
from training.utility import objective_weights


class OverlapReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far the log supports judging the policy; see `training.judge.ope.Overlap`."""

    effective_sample_size: float
    largest_weight: float
    mean_weight: float
    mean_weight_z: float
    support: dict[str, int]


class MetricChange(msgspec.Struct, frozen=True, kw_only=True):
    """One metric under the candidate and the incumbent, by DR."""

    candidate: Estimate
    incumbent: Estimate
    advantage: Estimate


class ObjectiveReport(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's estimated value under one objective (None: each round's own).

    `estimates` are of the policy with the exploration it would serve with, `greedy` without any;
    `advantage` is the paired DR difference to the incumbent; `fixed_arms` are DR estimates too.
    """

    objective: dict[str, float] | None
    estimates: dict[str, Estimate]
    incumbent: Estimate
    advantage: Estimate
    greedy: Estimate
    greedy_advantage: Estimate
    fixed_arms: dict[str, Estimate]
    metrics: dict[str, MetricChange]
    overlap: OverlapReport
    share: dict[str, float]
    gate: Verdict


class LogReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that `evaluate --logs` prints.

    `in_sample` says that the policy was trained on these very rounds, so that its figures (not the
    incumbent's, nor the fixed arms') flatter it.
    """

    policy: str
    rows: int
    in_sample: bool
    window: list[float]
    counts: RoundCounts
    objectives: list[ObjectiveReport]


def evaluate_on_rounds(
    policy: Policy,
    rounds: LoggedRounds,
    *,
    objectives: Sequence[Mapping[str, float] | None],
    exploration: Exploration,
    seed: int = 0,
) -> LogReport:
    """Off-policy estimates on the explored rounds after the policy's training window.

    Where there are none, on those it was trained on, and the report says so; the gate refuses then.

    Raises:
        EmptyLogError: too few rounds are left.
        PolicyFitError: the policy doesn't fit the log's features or arms.
        ObjectiveError: an objective weighs a metric that the log doesn't have.
    """
    mine = unseen(rounds, policy)
    in_sample = len(mine) == 0
    if in_sample:
        mine = rounds.rows(rounds.explored)
    reports = []
    for objective in objectives:
        weights = objective_weights(mine, objective)
        on = put_on_rounds(policy, mine, weights, exploration, seed=seed)
        verdict = (
            nothing_unseen(policy.version, 0, "the policy was trained on all rounds of this log")
            if in_sample
            else judge_on(on, mine, weights, policy.version)
        )
        reports.append(_report(on, mine, objective, verdict))
    return LogReport(
        policy=policy.version,
        rows=len(mine),
        in_sample=in_sample,
        window=[float(mine.at[0]), float(mine.at[-1])],
        counts=rounds.counts,
        objectives=reports,
    )


def _report(
    on: OnRounds,
    rounds: LoggedRounds,
    objective: Mapping[str, float] | None,
    verdict: Verdict,
) -> ObjectiveReport:
    greedy = on.sample._replace(action_dist=_one_hot(on.greedy, len(rounds.arms)))
    found = overlap(on.sample)
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
        overlap=OverlapReport(
            effective_sample_size=found.effective_sample_size,
            largest_weight=found.largest_weight,
            mean_weight=found.mean_weight,
            mean_weight_z=found.mean_weight_z,
            support=dict(zip(rounds.arms, found.support.tolist(), strict=True)),
        ),
        share=dict(zip(rounds.arms, share.tolist(), strict=True)),
        gate=verdict,
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


def log_tables(report: LogReport, title: str) -> Group:
    """The report as tables for people."""
    return Group(*(piece for part in report.objectives for piece in _tables(part, report, title)))


def _tables(part: ObjectiveReport, report: LogReport, title: str) -> list[Table | str]:
    objective = "each request's own objective"
    if part.objective is not None:
        objective = " ".join(f"{weight:+g}·{metric}" for metric, weight in part.objective.items())
    seen = "rounds IT WAS TRAINED ON: they flatter it" if report.in_sample else "unseen rounds"
    table = Table(title=f"{title}: {objective}, {report.rows:,} {seen}")
    table.add_column("what")
    for column in ("value", "s.e.", "95 % from", "to"):
        table.add_column(column, justify="right")
    for name, estimate in part.estimates.items():
        table.add_row(f"policy, {name}", *_cells(estimate))
    table.add_row("policy, greedy (dr)", *_cells(part.greedy), end_section=True)
    table.add_row("incumbent, as logged (dr)", *_cells(part.incumbent))
    for arm, estimate in part.fixed_arms.items():
        table.add_row(f"always {arm} (dr)", *_cells(estimate))
    table.add_section()
    table.add_row("advantage, paired (dr)", *_cells(part.advantage), style="bold")
    for metric, change in part.metrics.items():
        table.add_row(f"change of {metric}", *_cells(change.advantage))
    found = part.overlap
    support = ", ".join(f"{arm} {count:,}" for arm, count in found.support.items())
    lines = (
        f"effective sample size {found.effective_sample_size:,.0f} of {report.rows:,}; largest "
        f"weight {found.largest_weight:.1f}; mean weight {found.mean_weight:.3f} "
        f"({found.mean_weight_z:+.1f} s.e. from 1); drawn: {support}"
    )
    refusals = part.gate.refusals()
    gate = "the gate would promote it" if part.gate.promote else "the gate would refuse it:"
    return [table, lines, "\n  ".join([gate, *refusals])]


def _cells(estimate: Estimate) -> list[str]:
    if estimate.lower is None or estimate.upper is None or estimate.standard_error is None:
        return [f"{estimate.value:.4f}", "–", "–", "–"]
    numbers = (estimate.value, estimate.standard_error, estimate.lower, estimate.upper)
    return [f"{number:.4f}" for number in numbers]
