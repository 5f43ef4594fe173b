"""A log's rows without what was written twice."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Log(NamedTuple):
    """A log without duplicates.

    `decisions` has one row per decision id and `answers` at most one; `feedback` has one row per
    decision and metric, the latest. `duplicates` counts rows that were there twice, `superseded`
    values that a later one replaced, by kind of row.
    """

    decisions: pa.Table
    answers: pa.Table
    feedback: pa.Table
    duplicates: dict[str, int]
    superseded: int


def distinct_log(decisions: pa.Table, answers: pa.Table, feedback: pa.Table) -> Log:
    """The log of these rows, each table in order of time."""
    kept = {
        "decisions": _first_by(decisions, "decision_id"),
        "answers": _first_by(answers, "decision_id"),
        "feedback": _first_by(feedback, "feedback_id"),
    }
    counts = {"decisions": decisions, "answers": answers, "feedback": feedback}
    latest = _latest_feedback(kept["feedback"])
    return Log(
        decisions=kept["decisions"],
        answers=kept["answers"],
        feedback=latest,
        duplicates={kind: counts[kind].num_rows - table.num_rows for kind, table in kept.items()},
        superseded=kept["feedback"].num_rows - latest.num_rows,
    )


def rows_at(table: pa.Table, index: Any) -> pa.Table:
    """Rows by their numbers; a run of them is not copied."""
    if len(index) == 0:
        return table.slice(0, 0)
    if index[-1] - index[0] + 1 == len(index) and (np.diff(index) == 1).all():
        return table.slice(int(index[0]), len(index))
    return table.take(pa.array(index))


def _first_by(table: pa.Table, column: str) -> pa.Table:
    """The first row, in time, of each value of a column; rows in order of time."""
    keys = table.select(["at", column])
    order = np.asarray(pc.sort_indices(keys, [("at", "ascending"), (column, "ascending")]))
    codes = _codes(table[column])[order]
    _, first = np.unique(codes, return_index=True)
    return rows_at(table, order[np.sort(first)].astype(np.int64))


def _latest_feedback(feedback: pa.Table) -> pa.Table:
    """The latest row, in time, of each decision and metric."""
    decision, metric = _codes(feedback["decision_id"]), _codes(feedback["metric"])
    pairs = decision * (int(metric.max(initial=0)) + 1) + metric
    _, from_end = np.unique(pairs[::-1], return_index=True)
    return rows_at(feedback, np.sort(len(pairs) - 1 - from_end))


def _codes(column: Any) -> Any:
    """(n,) int64: equal values have equal numbers."""
    if len(column) == 0:
        return np.zeros(0, dtype=np.int64)
    encoded: Any = pc.dictionary_encode(column.combine_chunks())
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
