"""Reading the Parquet log: `{decisions,answers,feedback}/day=YYYY-MM-DD/[tenant=T/]NAME.parquet`.

What `training.log.parts` and earlier releases wrote is read: files directly in a day's folder or in
a tenant's below it, with older or newer columns. The tenant is a column; a path's is never read,
since small tenants share a folder. Reading drops what was written twice.
"""

import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import EmptyLogError, InputError
from training.log.distinct import Log, distinct_log
from training.log.event_tables import (
    ANSWERS,
    DECISIONS,
    FEEDBACK,
    SCHEMAS,
    Kind,
    answers_table,
    decisions_table,
    feedback_table,
)
from training.log.log_folder import LogFolder, LogPlace, log_folder
from training.log.parts import write_parquet, write_part

# Who reads a log mostly makes one in its tests too: both sides are found here.
__all__ = [
    "ANSWERS",
    "DECISIONS",
    "FEEDBACK",
    "SCHEMAS",
    "Kind",
    "Log",
    "answers_table",
    "decisions_table",
    "feedback_table",
    "has_decisions",
    "log_parts",
    "read_log",
    "read_parquet",
    "read_part",
    "write_parquet",
    "write_part",
]

_PART = re.compile(r"day=[^/]+/(?:[^/]+/)*[^./][^/]*\.parquet")

# Columns that a reader can't do without; the others have defaults in the events.
NEEDED: dict[Kind, frozenset[str]] = {
    "decisions": frozenset({"decision_id", "at", "arms", "probabilities", "arm", "propensity"}),
    "answers": frozenset({"decision_id", "at", "executed_arm"}),
    "feedback": frozenset({"feedback_id", "decision_id", "at", "metric", "value"}),
}


def read_log(location: LogPlace) -> Log:
    """All rows of the log at a location, without what was exported twice.

    Raises:
        InputError: there is no such directory, or a file in it isn't part of such a log.
        FolderError: the object storage can't be used.
        EmptyLogError: it holds no decision.
    """
    folder = log_folder(location)
    if not folder.exists():
        raise InputError(
            "no such log directory: export one with rag-policy export --to DIR, or make one with "
            "rag-policy replay --to DIR",
            path=folder,
        )
    decisions = _read_kind(folder, "decisions")
    if decisions.num_rows == 0:
        raise EmptyLogError(
            f"{folder}: the log holds no decision yet: send queries to the service and run "
            "rag-policy export again, or name another directory"
        )
    answers, feedback = _read_kind(folder, "answers"), _read_kind(folder, "feedback")
    return distinct_log(decisions, answers, feedback)


def has_decisions(location: LogPlace) -> bool:
    """Whether the log holds any decisions file."""
    return bool(log_parts(location, "decisions"))


def log_parts(location: LogPlace, kind: Kind) -> list[str]:
    """The kind's Parquet files by their names below the folder, sorted; no unfinished ones."""
    names = [file.name for file in log_folder(location).files(kind)]
    return [name for name in names if _PART.fullmatch(name.removeprefix(f"{kind}/"))]


def read_part(folder: LogFolder, name: str, kind: Kind) -> pa.Table:
    """One file's rows with exactly the columns of SCHEMAS[kind], as `read_parquet` gives them."""
    return read_parquet(folder, name, SCHEMAS[kind], NEEDED[kind])


def _read_kind(folder: LogFolder, kind: Kind) -> pa.Table:
    tables = [read_part(folder, name, kind) for name in log_parts(folder, kind)]
    return pa.concat_tables(tables) if tables else SCHEMAS[kind].empty_table()


def read_parquet(
    folder: LogFolder, name: str, schema: pa.Schema, needed: frozenset[str]
) -> pa.Table:
    """One file's rows with exactly the schema's columns; an absent one that isn't needed is null.

    Columns that the schema lacks, as a later release may write, are not read.

    Raises:
        InputError: the file is damaged, lacks a needed column, or a column has another type.
    """
    path = folder / name
    try:
        with folder.open(name) as source, pq.ParquetFile(source) as file:
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


def _cast(column: Any, field: Any, path: LogFolder, needed: frozenset[str]) -> Any:
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
