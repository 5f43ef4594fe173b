"""A log counted: by day, by arm and by tenant."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.judge.ope import Estimate
from training.log.log_files import Log
from training.log.rounds import Bools, LoggedRounds
from training.report.worth import Judgeable, incumbent_values

_DAY_SECONDS = 86_400
# Tenants shown by name; the others together.
_MOST_TENANTS = 20
OTHERS = "(others)"


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions of a day, an arm or a tenant.

    `feedback` is the share with any feedback, `reported` that with each metric, measured by the
    router or fed back. `fallbacks` are answers by another arm than the drawn one, `failures`
    answers that weren't made in the end; both count among `answers`.
    """

    name: str
    decisions: int
    feedback: float
    reported: dict[str, float]
    answers: int
    fallbacks: int
    failures: int
    out_of_distribution: int


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """One day, UTC: its tally, the share of each route and arm, and what served was worth."""

    tally: Tally
    routes: dict[str, float]
    arms: dict[str, float]
    values: dict[str, Estimate]


class Outcomes:
    """What became of each round, (n,) flags: fed back, answered, fallen back, failed."""

    def __init__(self, log: Log, rounds: LoggedRounds) -> None:
        row_of = {decision: row for row, decision in enumerate(rounds.decision_ids.tolist())}
        self.fed_back, self.answered, self.fell_back, self.failed = np.zeros(
            (4, len(rounds)), dtype=np.bool_
        )
        feedback: Any = log.feedback
        for decision in feedback["decision_id"].to_pylist():
            if (row := row_of.get(decision)) is not None:
                self.fed_back[row] = True
        answers: Any = log.answers
        columns = (answers[name].to_pylist() for name in ("decision_id", "executed_arm", "error"))
        for decision, arm, error in zip(*columns, strict=True):
            if (row := row_of.get(decision)) is not None:
                self.answered[row] = True
                self.fell_back[row] = arm != rounds.arms[rounds.action[row]]
                self.failed[row] = error is not None


def tally(name: str, rounds: LoggedRounds, outcomes: Outcomes, mine: Bools) -> Tally:
    """The tally of some of the rounds."""
    reported = ~np.isnan(rounds.values[mine])
    shares = reported.mean(axis=0) if len(reported) else np.zeros(len(rounds.metrics))
    return Tally(
        name=name,
        decisions=int(mine.sum()),
        feedback=float(outcomes.fed_back[mine].mean()) if mine.any() else 0.0,
        reported={
            metric: float(share)
            for metric, share, seen in zip(rounds.metrics, shares, rounds.observed, strict=True)
            if seen
        },
        answers=int(outcomes.answered[mine].sum()),
        fallbacks=int(outcomes.fell_back[mine].sum()),
        failures=int(outcomes.failed[mine].sum()),
        out_of_distribution=int(rounds.out_of_distribution[mine].sum()),
    )


def by_arm(rounds: LoggedRounds, outcomes: Outcomes) -> list[Tally]:
    """One tally an arm, of the rounds that drew it."""
    return [tally(arm, rounds, outcomes, rounds.action == a) for a, arm in enumerate(rounds.arms)]


def by_tenant(rounds: LoggedRounds, outcomes: Outcomes) -> list[Tally]:
    """One tally a tenant, the busiest first; beyond _MOST_TENANTS all others as one."""
    names, counts = np.unique(rounds.tenants.astype(str), return_counts=True)
    shown = names[np.argsort(-counts, kind="stable")][:_MOST_TENANTS]
    tenants = rounds.tenants.astype(str)
    tallies = [tally(str(name) or "(none)", rounds, outcomes, tenants == name) for name in shown]
    others = ~np.isin(tenants, shown)
    return [*tallies, *([tally(OTHERS, rounds, outcomes, others)] if others.any() else [])]


def by_day(log: Judgeable, outcomes: Outcomes, routes: Mapping[str, str]) -> list[Day]:
    """One entry a day that has decisions; `routes` gives the route of each arm."""
    rounds = log.rounds
    days = np.floor_divide(rounds.at, _DAY_SECONDS).astype(np.int64)
    return [_day(int(day), log, outcomes, routes, days == day) for day in np.unique(days)]


def _day(
    day: int, log: Judgeable, outcomes: Outcomes, routes: Mapping[str, str], mine: Bools
) -> Day:
    label = datetime.fromtimestamp(day * _DAY_SECONDS, UTC).date().isoformat()
    arms = dict(zip(log.rounds.arms, _shares(log.rounds.action[mine], log), strict=True))
    by_route: dict[str, float] = {}
    for arm, share in arms.items():
        by_route[routes[arm]] = by_route.get(routes[arm], 0.0) + share
    return Day(
        tally=tally(label, log.rounds, outcomes, mine),
        routes=by_route,
        arms=arms,
        values=incumbent_values(log.rows(mine)),
    )


def _shares(action: NDArray[np.intp], log: Judgeable) -> list[float]:
    counts = np.bincount(action, minlength=len(log.rounds.arms))
    return [float(count) / len(action) for count in counts]
