"""The Parquet log: `DIR/{decisions,answers,feedback}/day=YYYY-MM-DD/NAME.parquet`.

One row per event, flat explicit columns; the day is that of the event's own `at`, in UTC. Export
and replay write it, training and evaluation read it. A file is complete or absent: it is written
beside its place, synced and renamed. Reading drops what was written twice.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from policies.events import AnswerFinished, DecisionMade, FeedbackGiven
from training.errors import EmptyLogError, InputError
from training.log.distinct import Log, distinct_log

Kind = Literal["decisions", "answers", "feedback"]


def _schema(*fields: Any) -> pa.Schema:
    return pa.schema(fields)


DECISIONS = _schema(
    pa.field("decision_id", pa.string(), nullable=False),
    pa.field("at", pa.float64(), nullable=False),
    pa.field("arms", pa.list_(pa.string())),
    pa.field("eligible", pa.list_(pa.string())),
    pa.field("probabilities", pa.list_(pa.float64())),
    pa.field("arm", pa.string()),
    pa.field("propensity", pa.float64()),
    pa.field("policy", pa.string()),
    pa.field("policy_version", pa.string()),
    pa.field("objective", pa.string()),
    pa.field("weights", pa.map_(pa.string(), pa.float64())),
    pa.field("expected", pa.map_(pa.string(), pa.list_(pa.float64()))),
    pa.field("explored", pa.bool_()),
    pa.field("explore", pa.bool_()),
    pa.field("tenant", pa.string()),
    pa.field("query", pa.string()),
    pa.field("query_hash", pa.string()),
    pa.field("features", pa.binary()),
    pa.field("feature_version", pa.string()),
    pa.field("rules", pa.list_(pa.string())),
    pa.field("fallback", pa.string()),
    # A request's attributes are texts, numbers and flags: JSON keeps apart what a map would not.
    pa.field("attributes", pa.string()),
    pa.field("audit", pa.bool_()),
    pa.field("out_of_distribution", pa.bool_()),
    pa.field("candidate", pa.string()),
    pa.field("candidate_probabilities", pa.list_(pa.float64())),
    pa.field("candidate_share", pa.float64()),
    pa.field("schema", pa.int32()),
)
ANSWERS = _schema(
    pa.field("decision_id", pa.string(), nullable=False),
    pa.field("at", pa.float64(), nullable=False),
    pa.field("executed_arm", pa.string()),
    pa.field("metrics", pa.map_(pa.string(), pa.float64())),
    pa.field("input_tokens", pa.int64()),
    pa.field("output_tokens", pa.int64()),
    pa.field(
        "evidence",
        pa.list_(pa.struct([pa.field("id", pa.string()), pa.field("score", pa.float64())])),
    ),
    pa.field("error", pa.string()),
    pa.field(
        "retrieval",
        pa.struct(
            [
                pa.field("count", pa.int64()),
                pa.field("top_score", pa.float64()),
                pa.field("margin", pa.float64()),
                pa.field("newest_age_s", pa.float64()),
                pa.field("cited", pa.int64()),
                pa.field("dropped_citations", pa.int64()),
            ]
        ),
    ),
    pa.field("failures", pa.list_(pa.string())),
    pa.field("schema", pa.int32()),
)
FEEDBACK = _schema(
    pa.field("feedback_id", pa.string(), nullable=False),
    pa.field("decision_id", pa.string(), nullable=False),
    pa.field("at", pa.float64(), nullable=False),
    pa.field("metric", pa.string()),
    pa.field("value", pa.float64()),
    pa.field("source", pa.string()),
    pa.field("comment", pa.string()),
    pa.field("demonstration", pa.string()),
    pa.field("schema", pa.int32()),
)
SCHEMAS: dict[Kind, pa.Schema] = {
    "decisions": DECISIONS,
    "answers": ANSWERS,
    "feedback": FEEDBACK,
}
# Columns that a reader can't do without; the others have defaults in the events.
NEEDED: dict[Kind, frozenset[str]] = {
    "decisions": frozenset({"decision_id", "at", "arms", "probabilities", "arm", "propensity"}),
    "answers": frozenset({"decision_id", "at", "executed_arm"}),
    "feedback": frozenset({"feedback_id", "decision_id", "at", "metric", "value"}),
}
_DAY_SECONDS = 86_400


def decisions_table(events: Sequence[DecisionMade]) -> pa.Table:
    """The events as rows of DECISIONS."""
    return _table(events, DECISIONS)


def answers_table(events: Sequence[AnswerFinished]) -> pa.Table:
    """The events as rows of ANSWERS."""
    return _table(events, ANSWERS)


def feedback_table(events: Sequence[FeedbackGiven]) -> pa.Table:
    """The events as rows of FEEDBACK."""
    return _table(events, FEEDBACK)


def _table(events: Sequence[msgspec.Struct], schema: pa.Schema) -> pa.Table:
    columns = {}
    for field in schema:
        values: list[Any] = [getattr(event, field.name) for event in events]
        if pa.types.is_map(field.type):
            values = [list(value.items()) for value in values]
        elif field.name in ("evidence", "retrieval"):
            values = [msgspec.to_builtins(value) for value in values]
        elif field.name == "attributes":
            values = [msgspec.json.encode(value).decode() if value else None for value in values]
        columns[field.name] = pa.array(values, type=field.type)
    return pa.table(columns, schema=schema)


def write_part(table: pa.Table, directory: Path, kind: Kind, name: str) -> list[Path]:
    """Write the rows to one file per day present, each named `<name>.parquet`.

    A file of that name is replaced, whole. Returns the files in order of their days; none for a
    table without rows.
    """
    days = np.floor_divide(table["at"].to_numpy(), _DAY_SECONDS).astype(np.int64)
    written = []
    for day in np.unique(days):
        label = datetime.fromtimestamp(int(day) * _DAY_SECONDS, UTC).date().isoformat()
        folder = directory / kind / f"day={label}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.parquet"
        write_parquet(table.filter(pa.array(days == day)), path)
        written.append(path)
    return written


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write one file so that a reader, or a crash, sees all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_log(directory: Path) -> Log:
    """All rows of the log, without what was exported twice.

    Raises:
        InputError: there is no such directory, or a file in it isn't part of such a log.
        EmptyLogError: it holds no decision.
    """
    if not directory.is_dir():
        raise InputError(
            "no such log directory: export one with rag-policy export --to DIR, or make one with "
            "rag-policy replay --to DIR",
            path=directory,
        )
    decisions = _read_kind(directory, "decisions")
    if decisions.num_rows == 0:
        raise EmptyLogError(
            f"{directory}: the log holds no decision yet: send queries to the service and run "
            "rag-policy export again, or name another directory"
        )
    answers, feedback = _read_kind(directory, "answers"), _read_kind(directory, "feedback")
    return distinct_log(decisions, answers, feedback)


def has_decisions(directory: Path) -> bool:
    """Whether the log holds any decisions file."""
    return any((directory / "decisions").glob("day=*/*.parquet"))


def _read_kind(directory: Path, kind: Kind) -> pa.Table:
    files = sorted((directory / kind).glob("day=*/*.parquet"))
    tables = [read_parquet(path, SCHEMAS[kind], NEEDED[kind]) for path in files]
    return pa.concat_tables(tables) if tables else SCHEMAS[kind].empty_table()


def read_parquet(path: Path, schema: pa.Schema, needed: frozenset[str]) -> pa.Table:
    """One file's rows with exactly the schema's columns; an absent one that isn't needed is null.

    Raises:
        InputError: the file is damaged, lacks a needed column, or a column has another type.
    """
    try:
        with pq.ParquetFile(path) as file:
            present = file.schema_arrow.names
            table = file.read([column for column in schema.names if column in present])
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"not a readable Parquet file ({str(error).splitlines()[0]}): move it away and export "
            "or replay again",
            path=path,
        ) from error
    columns = {}
    for field in schema:
        if field.name not in table.column_names:
            if field.name in needed:
                raise InputError(
                    f"has no such column (its columns: {', '.join(present)}): is it "
                    "part of a log that rag-policy wrote?",
                    path=path,
                    field=field.name,
                )
            columns[field.name] = pa.nulls(table.num_rows, field.type)
            continue
        columns[field.name] = _cast(table[field.name], field, path, needed)
    return pa.table(columns, schema=schema)


def _cast(column: Any, field: Any, path: Path, needed: frozenset[str]) -> Any:
    if _family(column.type) != _family(field.type):
        raise InputError(
            f"has type {column.type}, expected {field.type}: export or replay the log again",
            path=path,
            field=field.name,
        )
    if column.null_count and field.name in needed:
        raise InputError(
            f"is null in {column.null_count} rows: export or replay the log again",
            path=path,
            field=field.name,
        )
    return column.cast(field.type)


def _family(kind: Any) -> str:
    """What a column holds, where a number's width doesn't matter."""
    types = pa.types
    if types.is_integer(kind) or types.is_floating(kind):
        return "number"
    if types.is_string(kind) or types.is_large_string(kind):
        return "text"
    if types.is_list(kind) or types.is_large_list(kind):
        return f"list of {_family(kind.value_type)}"
    return str(kind.id)
