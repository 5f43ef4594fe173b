"""What `evaluate --logs` prints, for machines and for people."""

import msgspec
from rich.console import Group
from rich.table import Table

from training.judge.gate import Verdict
from training.judge.intervals import Interval
from training.judge.ope import Estimate
from training.judge.slices import Slice
from training.log.rounds import RoundCounts


class OverlapReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far the log supports judging the policy; see `training.judge.ope.Overlap`.

    `weight_quantiles` are of the reported rounds' importance weights; `common_mass` is the mean
    over rounds of Σ_a min(π(a), p(a)): 1 where the policy is what was logged, 0 where the log
    never drew what it would draw.
    """

    effective_sample_size: float
    largest_weight: float
    mean_weight: float
    mean_weight_z: float
    support: dict[str, int]
    weight_quantiles: dict[str, float] = {}
    common_mass: float = 1.0


class MetricChange(msgspec.Struct, frozen=True, kw_only=True):
    """One metric under the candidate and the incumbent, by DR."""

    candidate: Estimate
    incumbent: Estimate
    advantage: Estimate


class ObjectiveReport(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's estimated value under one objective (None: each round's own).

    `estimates` are of the policy with the exploration it would serve with, `greedy` without any;
    `advantage` is the paired DR difference to the incumbent, which has `intervals` by method and
    `slices`; `fixed_arms` are DR estimates too.
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
    intervals: dict[str, Interval] = {}
    slices: list[Slice] = []


class LogReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that `evaluate --logs` prints.

    `in_sample` says that the policy was trained on these very rounds, so that its figures (not the
    incumbent's, nor the fixed arms') flatter it. `tenant` is None for all tenants; `left_out`
    counts later rounds that repeat queries which it was trained on.
    """

    policy: str
    rows: int
    in_sample: bool
    window: list[float]
    counts: RoundCounts
    objectives: list[ObjectiveReport]
    tenant: str | None = None
    left_out: int = 0
    new_queries: str = ""


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
    for name, interval in part.intervals.items():
        table.add_row(f"  {name}", "", "", *_bounds(interval))
    found = part.overlap
    support = ", ".join(f"{arm} {count:,}" for arm, count in found.support.items())
    lines = (
        f"effective sample size {found.effective_sample_size:,.0f} of {report.rows:,}; largest "
        f"weight {found.largest_weight:.1f}; mean weight {found.mean_weight:.3f} "
        f"({found.mean_weight_z:+.1f} s.e. from 1); in common {found.common_mass:.0%}; "
        f"drawn: {support}"
    )
    refusals = part.gate.refusals()
    gate = (
        f"as look {part.gate.look} at this incumbent, one-sided at {part.gate.alpha:.2%}, the gate "
        f"would {'promote it' if part.gate.promote else 'refuse it:'}"
    )
    sliced = [_slices_table(part)] if part.slices else []
    return [table, lines, report.new_queries, *sliced, "\n  ".join([gate, *refusals])]


def _slices_table(part: ObjectiveReport) -> Table:
    table = Table(title="Advantage by slice; p-values one-sided, corrected for all slices (Holm)")
    table.add_column("slice")
    for column in ("rounds", "advantage", "s.e.", "95 % from", "to", "p worse", "p better"):
        table.add_column(column, justify="right")
    for piece in part.slices:
        p_values = (f"{piece.worse_p:.3f}", f"{piece.better_p:.3f}")
        cells = (f"{piece.rows:,}", *_cells(piece.advantage), *p_values)
        table.add_row(piece.named, *cells, style="red" if piece.worse else None)
    return table


def _bounds(interval: Interval) -> tuple[str, str]:
    return f"{interval.lower:.4f}", f"{interval.upper:.4f}"


def _cells(estimate: Estimate) -> list[str]:
    if estimate.lower is None or estimate.upper is None or estimate.standard_error is None:
        return [f"{estimate.value:.4f}", "–", "–", "–"]
    numbers = (estimate.value, estimate.standard_error, estimate.lower, estimate.upper)
    return [f"{number:.4f}" for number in numbers]
