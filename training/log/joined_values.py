"""What a log's decisions turned out to be worth: answers and feedback joined by decision id.

Feedback wins over the router's own measurement of the same metric, and the latest report of a kind
over earlier ones. A metric nobody reported is NaN, never a guess; late feedback joins like any
other.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.fit.folds import Ints
from training.log import columns
from training.log.distinct import Log, rows_at
from training.log.log_facts import FirstSeen, LogFacts
from training.log.log_folder import LogPlace
from training.log.rounds import Bools, Floats

# Larger values are mistakes, and one of them would outweigh every other in any fit.
MAX_VALUE = 1e9


class JoinedValues(NamedTuple):
    """Decisions with the wanted features, and by metric the values (n,) reported for them."""

    decisions: pa.Table
    values: dict[str, Floats]
    facts: LogFacts


def join_values(log: Log, feature_version: str, source: LogPlace) -> JoinedValues:
    """The values of a log's decisions with these features, and what it tells of the whole."""
    everything: Any = log.decisions
    mine = pc.equal(everything["feature_version"].fill_null(""), feature_version)
    decisions = rows_at(everything, np.flatnonzero(mine.to_numpy()))
    at = columns.times(decisions, source)
    answers: Any = log.answers
    feedback: Any = log.feedback
    answered = columns.positions(answers["decision_id"], decisions["decision_id"])
    told = columns.positions(feedback["decision_id"], decisions["decision_id"])
    reports = [_measured(answers, answered), _told(feedback, told)]
    values: dict[str, Floats] = {}
    counted = dict.fromkeys(("fallbacks", "orphan_feedback", "absurd_feedback"), 0)
    for report in reports:
        counted["absurd_feedback"] += report.put(values, len(at))
    counted["orphan_feedback"] = _orphans(feedback, told, everything, decisions)
    counted["fallbacks"] = _fallbacks(answers, answered, decisions)
    known = np.zeros(len(at), dtype=np.bool_)
    for column in values.values():
        known |= ~np.isnan(column)
    facts = LogFacts(
        at=at,
        reported_at=_reported_at(feedback, told, len(at)),
        end=_end_of(log),
        arms=_first_arms(decisions),
        metrics={name: first for report in reports[::-1] for name, first in report.first.items()},
        expected=_first_expected(decisions),
        values={m: int(np.count_nonzero(~np.isnan(column))) for m, column in values.items()},
        counted={
            **counted,
            "decisions": len(at),
            "with_feedback": int(known.sum()),
            "feedback_values": log.feedback.num_rows,
            "superseded_feedback": log.superseded,
            "duplicate_rows": sum(log.duplicates.values()),
            "other_features": everything.num_rows - len(at),
        },
    )
    return JoinedValues(decisions, values, facts)


class _Reports(NamedTuple):
    """Values of one kind of event, in their order: the row each is for, −1 where for none; its
    metric by number, and their names; where each valid metric was first seen.
    """

    rows: Ints
    metrics: Ints
    names: NDArray[np.object_]
    values: Floats
    valid: Bools
    first: dict[str, FirstSeen]

    def put(self, values: dict[str, Floats], n: int) -> int:
        """Enter the valid ones, later ones over earlier ones; the number of absurd ones."""
        for code in dict.fromkeys(self.metrics[self.valid].tolist()):
            mine = self.valid & (self.metrics == code)
            column = values.setdefault(self.names[code], np.full(n, np.nan))
            column[self.rows[mine]] = self.values[mine]
        return int(((self.rows >= 0) & ~self.valid).sum())


def _measured(answers: Any, rows: Ints) -> _Reports:
    """What answers to these rows measured."""
    row, pairs = columns.flat(answers["metrics"])
    place = columns.places(row, answers.num_rows)

    def first(item: int) -> FirstSeen:
        return (0, *_when(answers, int(row[item]), "decision_id"), int(place[item]))

    return _reports(rows[row], pairs.field("key"), pairs.field("value"), first)


def _told(feedback: Any, rows: Ints) -> _Reports:
    """What feedback on these rows said."""

    def first(item: int) -> FirstSeen:
        return (1, *_when(feedback, item, "feedback_id"))

    return _reports(rows, feedback["metric"], feedback["value"], first)


def _reports(rows: Ints, metric: Any, value: Any, first: Callable[[int], FirstSeen]) -> _Reports:
    """Reports for these rows; one without a value is for none."""
    present = np.asarray(columns.one_array(value).is_valid().to_numpy(zero_copy_only=False))
    rows = np.where(present, rows, -1)
    amounts = columns.numbers(value)
    codes, names = columns.coded(metric)
    # Written so that NaN is absurd as well.
    valid = (rows >= 0) & (np.abs(amounts) <= MAX_VALUE)
    seen, where = np.unique(codes[valid], return_index=True)
    items = np.flatnonzero(valid)[where].tolist()
    found = {str(names[code]): first(i) for code, i in zip(seen.tolist(), items, strict=True)}
    return _Reports(rows, codes, names, amounts, valid, found)


def _when(table: Any, row: int, name: str) -> tuple[float, str]:
    """By what the log's rows are ordered."""
    return table["at"][row].as_py(), table[name][row].as_py()


def _first_arms(decisions: Any) -> dict[str, FirstSeen]:
    rows, arms = columns.flat(decisions["arms"])
    codes, names = columns.coded(arms)
    place = columns.places(rows, decisions.num_rows)
    _, where = np.unique(codes, return_index=True)
    return {
        str(name): (*_when(decisions, int(rows[i]), "decision_id"), int(place[i]))
        for name, i in zip(names, where, strict=True)
    }


def _first_expected(decisions: Any) -> dict[str, FirstSeen]:
    rows, pairs = columns.flat(decisions["expected"])
    codes, names = columns.coded(pairs.field("key"))
    place = columns.places(rows, decisions.num_rows)
    _, where = np.unique(codes, return_index=True)
    return {
        str(name): (2, *_when(decisions, int(rows[i]), "decision_id"), int(place[i]))
        for name, i in zip(names, where, strict=True)
    }


def _orphans(feedback: Any, rows: Ints, everything: Any, decisions: Any) -> int:
    """Feedback for no decision of the log, of whatever features."""
    lost = rows < 0
    if decisions.num_rows < everything.num_rows:
        lost = columns.positions(feedback["decision_id"], everything["decision_id"]) < 0
    return int(lost.sum())


def _fallbacks(answers: Any, rows: Ints, decisions: Any) -> int:
    """Answers that another arm gave than the drawn one."""
    codes, names = columns.coded(decisions["arm"])
    executed = columns.positions(answers["executed_arm"].fill_null(""), names)
    return int((executed[rows >= 0] != codes[rows[rows >= 0]]).sum())


def _reported_at(feedback: Any, rows: Ints, n: int) -> Floats:
    """(n,) when each decision's last feedback came, NaN where none has."""
    at = np.full(n, np.nan)
    np.fmax.at(at, rows[rows >= 0], columns.numbers(feedback["at"])[rows >= 0])
    return at


def _end_of(log: Log) -> float:
    """The time of the log's last event."""
    tables: list[Any] = [log.decisions, log.answers, log.feedback]
    ends = [float(columns.numbers(table["at"]).max()) for table in tables if table.num_rows]
    return max(ends, default=-math.inf)
