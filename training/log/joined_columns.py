"""Reading of a log what the join needs of it: some columns, and features only where they count."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.errors import EmptyLogError, InputError
from training.log.distinct import Log, distinct_log
from training.log.log_files import NEEDED, SCHEMAS, Kind, log_parts, read_parquet
from training.log.log_folder import LogFolder, LogPlace, log_folder
from training.log.rounds_table import AS_LOGGED

KINDS: tuple[Kind, ...] = ("decisions", "answers", "feedback")
_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "decisions": (
        *AS_LOGGED,
        "arms",
        "eligible",
        "probabilities",
        "arm",
        "propensity",
        "weights",
        "expected",
        "feature_version",
        "candidate_probabilities",
    ),
    "answers": ("decision_id", "at", "executed_arm", "metrics"),
    "feedback": ("feedback_id", "decision_id", "at", "metric", "value"),
}
JOINED: dict[Kind, pa.Schema] = {
    kind: pa.schema([SCHEMAS[kind].field(name) for name in names])
    for kind, names in _COLUMNS.items()
}
_FEATURES = pa.schema([SCHEMAS["decisions"].field("features")])


def log_names(folder: LogFolder) -> dict[Kind, list[str]]:
    """The log's files by kind, in order of their names below the folder.

    Raises:
        InputError: there is no such directory.
        EmptyLogError: it holds no decision.
        FolderError: the object storage can't be used.
    """
    if not folder.exists():
        raise InputError(
            "no such log directory: export one with rag-policy export --to DIR, or make one with "
            "rag-policy replay --to DIR",
            path=folder,
        )
    names = {kind: log_parts(folder, kind) for kind in KINDS}
    if not names["decisions"]:
        raise EmptyLogError(
            f"{folder}: the log holds no decision yet: send queries to the service and run "
            "rag-policy export again, or name another directory"
        )
    return names


def rows_in(folder: LogFolder, name: str) -> int:
    """How many rows a file has, from its footer alone.

    Raises:
        InputError: it is no Parquet file.
    """
    try:
        with folder.open(name) as source:
            return int(pq.read_metadata(source).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"not a readable Parquet file ({str(error).splitlines()[0]}): move it away and export "
            "or replay again",
            path=folder / name,
        ) from error


def read_joined(location: LogPlace, since: float = -math.inf) -> Log:
    """All rows of a log, with what the join needs; features of decisions made later than `since`.

    Raises:
        InputError: there is no such directory, or a file in it isn't part of such a log.
        EmptyLogError: it holds no decision.
        FolderError: the object storage can't be used.
    """
    folder = log_folder(location)
    names = log_names(folder)
    log = distinct_log(*(read_files(folder, names[kind], kind, since) for kind in KINDS))
    if log.decisions.num_rows == 0:
        raise EmptyLogError(
            f"{folder}: the log's files hold no decision: send queries to the service and run "
            "rag-policy export again, or name another directory"
        )
    return log


def read_files(
    folder: LogFolder, names: Sequence[str], kind: Kind, since: float = -math.inf
) -> pa.Table:
    """The files' rows with the columns of JOINED[kind].

    Raises:
        InputError: a file isn't part of such a log.
    """
    tables = [_read(folder, name, kind, since) for name in names]
    return pa.concat_tables(tables) if tables else JOINED[kind].empty_table()


def _read(folder: LogFolder, name: str, kind: Kind, since: float) -> pa.Table:
    schema = JOINED[kind]
    if kind != "decisions" or since == -math.inf:
        return read_parquet(folder, name, schema, NEEDED[kind])
    at = schema.get_field_index("features")
    table = read_parquet(folder, name, schema.remove(at), NEEDED[kind])
    late = pc.greater(table["at"], since)
    return table.add_column(at, schema.field(at), _late_features(folder, name, late))


def _late_features(folder: LogFolder, name: str, late: Any) -> Any:
    """The features of late decisions; null for the others, read only where there are any."""
    if not np.any(late.to_numpy()):
        return pa.nulls(len(late), pa.binary())
    features = read_parquet(folder, name, _FEATURES, frozenset())["features"]
    return pc.if_else(late, features, pa.scalar(None, pa.binary()))
