"""An owner's report as titled tables of text, for a terminal and for a page alike."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from training.judge.gate import Verdict
from training.judge.ope import Estimate
from training.report.drift import P_VALUE, DriftTest
from training.report.log_days import Day, Tally
from training.report.owner_report import OwnerReport
from training.report.worth import OBJECTIVE, Worth

_NOTHING = "–"


class Section(NamedTuple):
    """A table: its title, what to know when reading it, columns, rows of cells.

    `bars` are columns that hold shares of one row that add up to 1; `marked` are rows that need a
    look.
    """

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]
    bars: list[str] = []
    marked: list[int] = []


def sections(report: OwnerReport) -> list[Section]:
    """All tables of the report, in reading order."""
    parts = [_worth("What each arm is worth", report, report.arms)]
    if report.routes:
        parts.append(_worth("What each route is worth", report, report.routes))
    parts += [_drift(report.drift), _days(report.days), _values(report.days)]
    parts.append(_tallies("Feedback and answers by arm", report.by_arm))
    parts.append(_tallies("Feedback and answers by tenant", report.by_tenant))
    if report.candidate is not None:
        parts.append(_candidate(report.candidate))
    return parts


def _policies(count: int) -> str:
    return "1 policy" if count == 1 else f"{count} policies"


def summary(report: OwnerReport) -> list[str]:
    """The report in a few lines."""
    total, served = report.total, report.incumbent[OBJECTIVE]
    objective = "each request's own objective"
    if report.objective is not None:
        objective = " ".join(f"{weight:+g}·{name}" for name, weight in report.objective.items())
    alarms = len(report.alarms)
    lines = [
        f"{total.decisions:,} decisions from {day_and_time(report.window[0])} to "
        f"{day_and_time(report.window[1])}, by {_policies(len(report.policies))}; "
        f"{total.feedback:.1%} with feedback; {total.fallbacks:,} of {total.answers:,} answers "
        f"fell back, {total.failures:,} failed; {total.out_of_distribution:,} queries flagged as "
        "out of distribution",
        f"what served is worth {interval(served)} under {objective}",
        f"drift: {alarms} of {len(report.drift)} tests alarm"
        if alarms
        else "drift: no test alarms",
    ]
    lines += [f"  {test.kind}, {test.name}: {test.finding}" for test in report.alarms]
    if report.candidate is not None:
        would = "would promote" if report.candidate.promote else "would refuse"
        lines.append(f"candidate {report.candidate.policy}: the gate {would} it")
    return lines


def interval(estimate: Estimate, *, signed: bool = False) -> str:
    """A value with half its 95 % interval."""
    value = f"{estimate.value:{'+' if signed else ''}.3g}"
    if estimate.lower is None or estimate.upper is None:
        return value
    return f"{value} ± {(estimate.upper - estimate.lower) / 2.0:.2g}"


def day_and_time(at: float) -> str:
    """Seconds since the epoch as UTC, to the minute."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _worth(title: str, report: OwnerReport, worths: Sequence[Worth]) -> Section:
    metrics = list(report.incumbent)
    served = ["as served", f"{report.total.decisions:,}", "", _NOTHING]
    served += [interval(report.incumbent[metric]) for metric in metrics]
    rows = [
        [
            f"always {worth.name}",
            f"{worth.drawn:,} of {worth.rows:,}",
            f"{worth.effective_sample_size:,.0f}",
            interval(worth.advantages[OBJECTIVE], signed=True),
            *(interval(worth.values[metric]) for metric in metrics),
        ]
        for worth in worths
    ]
    return Section(
        title,
        "Doubly robust estimates with 95 % intervals. An arm counts on the explored rounds where "
        "it could be drawn; its advantage is over what served on the same rounds.",
        ["what", "drawn", "effective rounds", "advantage", *metrics],
        [served, *rows],
    )


def _days(days: Sequence[Day]) -> Section:
    routes = list(dict.fromkeys(route for day in days for route in day.routes))
    return Section(
        "Routes by day",
        "UTC. Share of the decisions that took each route.",
        ["day", "decisions", *routes, "flagged", "feedback", "fallbacks"],
        [
            [
                day.tally.name,
                f"{day.tally.decisions:,}",
                *(f"{day.routes.get(route, 0.0):.1%}" for route in routes),
                f"{day.tally.out_of_distribution:,}",
                f"{day.tally.feedback:.1%}",
                f"{day.tally.fallbacks:,}",
            ]
            for day in days
        ],
        bars=routes,
    )


def _values(days: Sequence[Day]) -> Section:
    metrics = list(days[0].values) if days else []
    return Section(
        "What served was worth, by day",
        "Doubly robust estimates with 95 % intervals.",
        ["day", *metrics],
        [[day.tally.name, *(interval(day.values[m]) for m in metrics)] for day in days],
    )


def _tallies(title: str, tallies: Sequence[Tally]) -> Section:
    metrics = list(dict.fromkeys(metric for tally in tallies for metric in tally.reported))
    return Section(
        title,
        "Share of the decisions with any feedback, and with each metric, fed back or measured.",
        ["what", "decisions", "feedback", *metrics, "answers", "fallbacks", "failed", "flagged"],
        [
            [
                tally.name,
                f"{tally.decisions:,}",
                f"{tally.feedback:.1%}",
                *(f"{tally.reported.get(metric, 0.0):.1%}" for metric in metrics),
                *(f"{n:,}" for n in (tally.answers, tally.fallbacks, tally.failures)),
                f"{tally.out_of_distribution:,}",
            ]
            for tally in tallies
        ],
    )


def _drift(tests: Sequence[DriftTest]) -> Section:
    """Alarms one by one; of the tests of a kind that don't alarm, the one that is nearest to it."""
    shown: list[tuple[str, DriftTest]] = [(test.name, test) for test in tests if test.alarm]
    for kind in dict.fromkeys(test.kind for test in tests):
        quiet = [test for test in tests if test.kind == kind and not test.alarm]
        if quiet:
            nearest = max(quiet, key=_nearness)
            more = f" (and {len(quiet) - 1} more)" if len(quiet) > 1 else ""
            shown.append((nearest.name + more, nearest))
    return Section(
        "Drift",
        "The rate is a test's chance of a false alarm. A log e-value alarms from its threshold "
        "on, a p-value at or below it.",
        ["test", "of", "alarm", "evidence", "threshold", "rate", "rounds", "found"],
        [
            [
                test.kind,
                name,
                f"since {day_and_time(test.since)}" if test.since is not None else "no",
                f"{test.statistic} {test.value:.3g}",
                f"{test.threshold:.3g}",
                f"{test.false_alarm_rate:.2g} {test.control}",
                f"{test.rows:,}",
                test.finding,
            ]
            for name, test in shown
        ],
        marked=[index for index, (_, test) in enumerate(shown) if test.alarm],
    )


def _nearness(test: DriftTest) -> float:
    """How near to its alarm a test is, among tests of its kind."""
    if test.statistic == P_VALUE:
        return -test.value / test.threshold
    return test.value - test.threshold


def _candidate(verdict: Verdict) -> Section:
    would = "would promote" if verdict.promote else "would refuse"
    advantage = "" if verdict.advantage is None else f", {interval(verdict.advantage, signed=True)}"
    return Section(
        f"Candidate {verdict.policy}: the gate {would} it",
        f"On {verdict.rows:,} rounds that it has never seen{advantage} over what served.",
        ["condition", "holds", "detail"],
        [[c.name, "yes" if c.passed else "no", c.detail] for c in verdict.conditions],
        marked=[index for index, c in enumerate(verdict.conditions) if not c.passed],
    )
