"""`evaluate --outcomes`: the whole report, and how people see it."""

import math
from collections.abc import Callable, Sequence

from rich.console import Group
from rich.table import Table

from policies.artifact import Manifest
from policies.policy import Policy
from training.judge.leave_one_out import leave_one_dataset_out, training_rows
from training.judge.outcome_report import (
    CurvePoint,
    OutcomeReport,
    Weights,
    arm_report,
    choose_greedily,
    curve_point,
    oracle,
    per_dataset_best,
    require_arms,
    sweep,
)
from training.progress import note
from training.tables.outcomes import OutcomeTable
from training.tables.query_features import QueryFeatures

# Rows of the printed curve; the JSON has all points.
_SHOWN = 14


def evaluate_on_outcomes(
    policy: Policy,
    table: OutcomeTable,
    features: QueryFeatures,
    *,
    encoder: str,
    objectives: Sequence[Weights] = (),
    advance: Callable[[int], None] = lambda _: None,
) -> OutcomeReport:
    """The policy's true values on the table.

    Args:
        policy: what is evaluated, greedily.
        table: n rows with the outcomes of every arm.
        features: of the table's queries.
        encoder: how to make the features of the policy's training rows again.
        objectives: evaluated first, and instead of the sweep's for leave-one-dataset-out.
        advance: told of each dataset left out.

    Raises:
        PolicyFitError: the policy doesn't fit the table's arms or the features.
    """
    columns = require_arms(policy, table, features.version)
    _warn_of_training_rows(policy.artifact().manifest, table)
    expected = policy.expected(features.matrix)[:, columns]
    curve = [
        curve_point(table, choose_greedily(table, expected, policy.metrics, weights), weights)
        for weights in objectives
    ]
    curve += sweep(table, expected, policy.metrics)
    rows = training_rows(policy.artifact().manifest, table, features, encoder)
    return OutcomeReport(
        arms=arm_report(table),
        oracle=oracle(table),
        per_dataset_best=per_dataset_best(table),
        curve=curve,
        leave_one_dataset_out=leave_one_dataset_out(
            policy, table, features, rows, objectives or _two_of(curve), advance=advance
        ),
    )


def _warn_of_training_rows(manifest: Manifest, table: OutcomeTable) -> None:
    training = manifest.training
    if training.get("sha256") == table.sha256 and training.get("split") in (None, *table.splits):
        note(
            "note: the policy was trained on rows of this table; its values here flatter it. Name "
            "another --split for an honest figure"
        )


def _two_of(curve: Sequence[CurvePoint]) -> list[Weights]:
    """Quality alone, and the objective where reading the query pays most over the same mix."""
    best = max(curve, key=_gain)
    chosen = [{"quality": 1.0}]
    return chosen if best.objective == chosen[0] else [*chosen, best.objective]


def _gain(point: CurvePoint) -> float:
    return point.value["quality"] - point.same_mix_random["quality"]


def outcome_tables(report: OutcomeReport, title: str) -> Group:
    """The report as tables for people."""
    return Group(_values(report, title), *_left_out(report))


def _values(report: OutcomeReport, title: str) -> Table:
    metrics = list(report.oracle)
    table = Table(title=title, caption=_caption(report))
    table.add_column("who decides")
    for metric in metrics:
        table.add_column(metric, justify="right")
    table.add_column("random, same mix", justify="right")
    table.add_column("share")
    for arm, means in report.arms.items():
        table.add_row(f"always {arm}", *_cells(means, metrics))
    table.add_row("best arm per dataset, in hindsight", *_cells(report.per_dataset_best, metrics))
    table.add_row("oracle", *_cells(report.oracle, metrics), end_section=True)
    for point in _representative(report.curve):
        mix = ", ".join(f"{arm} {part:.0%}" for arm, part in point.share.items() if part >= 0.005)
        table.add_row(
            _objective(point.objective),
            *_cells(point.value, metrics),
            f"{point.same_mix_random['quality']:.4f}",
            mix,
        )
    return table


def _caption(report: OutcomeReport) -> str:
    best_fixed = max(means.get("quality", -math.inf) for means in report.arms.values())
    best = report.curve[0].value["quality"]
    gap = report.oracle["quality"] - best_fixed
    recovered = f"{(best - best_fixed) / gap:.0%}" if gap > 0.0 else "nothing"
    error = report.curve[0].standard_error.get("quality", 0.0)
    return (
        f"quality ± {error:.4f} (s.e.). The first objective recovers {recovered} of the gap from "
        "the best fixed arm to the oracle; query text alone has recovered 10–20 % at most in "
        "print."
    )


def _representative(curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    """A few points that differ: the first of each share, thinned evenly."""
    distinct: list[CurvePoint] = []
    for point in curve:
        if not distinct or point.share != distinct[-1].share:
            distinct.append(point)
    step = max(len(distinct) / _SHOWN, 1.0)
    kept = sorted({int(i * step) for i in range(_SHOWN)} | {len(distinct) - 1})
    return [distinct[i] for i in kept if i < len(distinct)]


def _left_out(report: OutcomeReport) -> list[Table]:
    if not report.leave_one_dataset_out:
        return []
    described = report.leave_one_dataset_out[0].trained_on
    table = Table(title=f"Quality on a dataset left out of training (refitted on {described})")
    for column in ("dataset", "objective"):
        table.add_column(column)
    for column in ("rows", "left out", "pooled", "random, same mix", "best fixed"):
        table.add_column(column, justify="right")
    for entry in report.leave_one_dataset_out:
        table.add_row(
            entry.dataset,
            _objective(entry.objective),
            f"{entry.rows:,}",
            *(
                f"{means['quality']:.4f}"
                for means in (entry.value, entry.pooled, entry.same_mix_random, entry.best_fixed)
            ),
        )
    return [table]


def _objective(weights: Weights) -> str:
    return " ".join(f"{weight:+g}·{metric}" for metric, weight in weights.items())


def _cells(means: dict[str, float], metrics: Sequence[str]) -> list[str]:
    return [f"{means[metric]:.4f}" if metric in means else "–" for metric in metrics]
