"""From the log's tables to LoggedRounds: decisions, answers and feedback joined by decision id.

The drawn arm counts, whichever arm a fallback ran in its place: that is what a policy decides. A
metric nobody reported is NaN, never a guess; late feedback joins like any other. Feedback wins over
the router's own measurement of the same metric.

A log in one piece goes through the same steps as the buckets of a large one: `join_values`, what
the whole log tells (`training.log.log_facts`), `settled`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.errors import EmptyLogError, InputError
from training.fit.folds import Ints
from training.log import columns
from training.log.distinct import Log, rows_at
from training.log.log_facts import FirstSeen, LogFacts, Whole, whole_of
from training.log.log_folder import LogPlace
from training.log.rounds import Bools, Floats, LoggedRounds, RoundCounts
from training.log.rounds_table import rounds_of, rounds_table

# How far a logged propensity may lie from the logged probability of the drawn arm.
_ROUNDING = 1e-6
# Larger values are mistakes, and one of them would outweigh every other in any fit.
MAX_VALUE = 1e9


class JoinedValues(NamedTuple):
    """Decisions with the wanted features, and by metric the values (n,) reported for them."""

    decisions: pa.Table
    values: dict[str, Floats]
    facts: LogFacts


def join_rounds(
    log: Log,
    *,
    source: LogPlace,
    arms: Sequence[str] | None = None,
    feature_version: str | None = None,
    since: float = -math.inf,
) -> LoggedRounds:
    """The log's rounds.

    Args:
        log: what `read_log` gave.
        source: the log's place, for messages.
        arms: put the arm axis into this order; arms of the log that it lacks follow.
        feature_version: keep rounds with these features; without it, the latest decision's.
        since: keep rounds made later than this.

    Raises:
        InputError: a propensity, an arm or a feature row in the log is wrong.
        EmptyLogError: no round has such features.
    """
    versions, names = columns.coded(log.decisions["feature_version"])
    wanted = feature_version if feature_version is not None else str(names[versions[-1]])
    require_version(wanted, names.tolist(), source)
    joined = join_values(log, wanted, source)
    whole = whole_of(joined.facts, wanted, arms or ())
    require_metrics(whole, source)
    found = settled(joined, whole, source, since)
    return rounds_of(found.table, whole, counts_of(whole, [found]), source)


def require_version(wanted: str, found: Sequence[str], source: LogPlace) -> None:
    """That decisions were logged with such features; raises EmptyLogError."""
    if wanted and wanted in found:
        return
    known = ", ".join(sorted({version or "(none)" for version in found}))
    raise EmptyLogError(
        f"{source}: no decision was logged with the features {wanted or '(any)'!r}; it has "
        f"{known}: train with the encoder that served, or export a newer log"
    )


def require_metrics(whole: Whole, source: LogPlace) -> None:
    """That anything was reported or expected; raises EmptyLogError."""
    if not whole.metrics:
        raise EmptyLogError(
            f"{source}: no decision has feedback, and nothing was expected of any arm: report to "
            "/v1/feedback, and export again"
        )


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


class Settled(NamedTuple):
    """Rounds in order of time, as a table; how many decisions wait for a later log, and how many
    could only have gone one way.
    """

    table: pa.Table
    pending: int
    unexplored: int


def settled(
    joined: JoinedValues, whole: Whole, source: LogPlace, since: float = -math.inf
) -> Settled:
    """The rounds, without those whose feedback may still be on its way.

    Args:
        joined: the decisions, and the values reported for them.
        whole: what the whole log tells.
        source: for messages.
        since: only rounds made later than this. Others are checked and counted all the same, but
            need no features.

    Raises:
        InputError: a propensity or an arm is wrong.
    """
    decisions: Any = joined.decisions
    probabilities = columns.by_arm(decisions, "probabilities", whole.arms)
    eligible = columns.eligible(decisions, whole.arms)
    action = columns.positions(decisions["arm"], whole.arms)
    pscore = columns.numbers(decisions["propensity"])
    _check_propensities(decisions, action, pscore, probabilities, eligible, source)
    at = joined.facts.at
    grown = ~(np.maximum(whole.end - at, 0.0) < whole.waiting)
    kept = np.flatnonzero(grown & (at > since))
    kept = kept[np.argsort(at[kept], kind="stable")]
    rows = rows_at(decisions, kept)
    nothing = np.full(len(at), np.nan)
    values = {**joined.values, **dict.fromkeys(whole.rare, nothing)}
    arrays = {
        "action": action[kept],
        "pscore": pscore[kept],
        "probabilities": probabilities[kept],
        "eligible": eligible[kept],
        "values": np.column_stack([values.get(m, nothing)[kept] for m in whole.metrics]),
        "expected": np.stack(
            [columns.expected(rows, whole.arms, m) for m in whole.metrics], axis=2
        ),
        "weights": np.column_stack([columns.weights(rows, metric) for metric in whole.metrics]),
        "candidate_probabilities": _candidate_probabilities(rows, whole.arms),
    }
    return Settled(
        table=rounds_table(rows, arrays),
        pending=int((~grown).sum()),
        unexplored=int((~((probabilities > 0.0) | ~eligible).all(axis=1)).sum()),
    )


def counts_of(whole: Whole, settled: Iterable[Settled]) -> RoundCounts:
    """What the join found, from all buckets' rounds."""
    pending, unexplored = np.sum([(one.pending, one.unexplored) for one in settled], axis=0)
    return RoundCounts(
        **whole.counted,
        rare_metrics=list(whole.rare),
        pending=int(pending),
        unexplored=int(unexplored),
    )


def _candidate_probabilities(decisions: Any, names: Sequence[str]) -> Floats:
    """(n, A), 0 in rows without a candidate."""
    lists = columns.one_array(decisions["candidate_probabilities"])
    given = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) > 0
    matrix = np.zeros((decisions.num_rows, len(names)))
    if given.any():
        with_one = decisions.filter(pa.array(given))
        matrix[given] = columns.by_arm(with_one, "candidate_probabilities", names)
    return matrix


def _check_propensities(
    decisions: Any,
    drawn: Ints,
    pscore: Floats,
    probabilities: Floats,
    eligible: Bools,
    source: LogPlace,
) -> None:
    def refuse(wrong: Bools, field: str, what: str) -> None:
        if wrong.any():
            first = decisions["decision_id"][int(wrong.argmax())]
            raise InputError(
                f"{what} in {int(wrong.sum())} decisions, first in {first}: the log was altered "
                "or its writer is broken; export it again",
                path=source / "decisions",
                field=field,
            )

    refuse(drawn < 0, "arm", "the drawn arm isn't among the decision's arms")
    refuse(~((pscore > 0.0) & (pscore <= 1.0)), "propensity", "isn't within (0, 1]")
    logged = probabilities[np.arange(len(drawn)), drawn]
    # Written so that NaN is refused as well.
    differs = ~(np.abs(logged - pscore) <= _ROUNDING)
    refuse(differs, "propensity", "isn't the drawn arm's probability")
    total = np.abs(probabilities.sum(axis=1) - 1.0)
    refuse(~(total <= _ROUNDING), "probabilities", "don't sum to 1")
    refuse(~eligible[np.arange(len(drawn)), drawn], "eligible", "lacks the drawn arm")
