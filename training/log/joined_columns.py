"""Reading of a log what the join needs of it: some columns, and features only where they count."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.errors import EmptyLogError, InputError
from training.log.distinct import Log, distinct_log
from training.log.log_files import NEEDED, SCHEMAS, Kind, read_parquet
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


def log_files(directory: Path) -> dict[Kind, list[Path]]:
    """The log's files by kind, in order of their names.

    Raises:
        InputError: there is no such directory.
        EmptyLogError: it holds no decision.
    """
    if not directory.is_dir():
        raise InputError(
            "no such log directory: export one with rag-policy export --to DIR, or make one with "
            "rag-policy replay --to DIR",
            path=directory,
        )
    files = {kind: sorted((directory / kind).glob("day=*/**/*.parquet")) for kind in KINDS}
    if not files["decisions"]:
        raise EmptyLogError(
            f"{directory}: the log holds no decision yet: send queries to the service and run "
            "rag-policy export again, or name another directory"
        )
    return files


def rows_in(path: Path) -> int:
    """How many rows a file has, from its footer alone.

    Raises:
        InputError: it is no Parquet file.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"not a readable Parquet file ({str(error).splitlines()[0]}): move it away and export "
            "or replay again",
            path=path,
        ) from error


def read_joined(directory: Path, since: float = -math.inf) -> Log:
    """All rows of a log, with what the join needs; features of decisions made later than `since`.

    Raises:
        InputError: there is no such directory, or a file in it isn't part of such a log.
        EmptyLogError: it holds no decision.
    """
    files = log_files(directory)
    log = distinct_log(*(read_files(files[kind], kind, since) for kind in KINDS))
    if log.decisions.num_rows == 0:
        raise EmptyLogError(
            f"{directory}: the log's files hold no decision: send queries to the service and run "
            "rag-policy export again, or name another directory"
        )
    return log


def read_files(paths: Sequence[Path], kind: Kind, since: float = -math.inf) -> pa.Table:
    """The files' rows with the columns of JOINED[kind].

    Raises:
        InputError: a file isn't part of such a log.
    """
    tables = [_read(path, kind, since) for path in paths]
    return pa.concat_tables(tables) if tables else JOINED[kind].empty_table()


def _read(path: Path, kind: Kind, since: float) -> pa.Table:
    schema = JOINED[kind]
    if kind != "decisions" or since == -math.inf:
        return read_parquet(path, schema, NEEDED[kind])
    at = schema.get_field_index("features")
    table = read_parquet(path, schema.remove(at), NEEDED[kind])
    return table.add_column(at, schema.field(at), _late_features(path, table["at"], since))


def _late_features(path: Path, at: Any, since: float) -> Any:
    """The features of decisions made later; null for the others, read only where there are any."""
    late = pc.greater(at, since)
    if not np.any(late.to_numpy()):
        return pa.nulls(len(at), pa.binary())
    features = read_parquet(path, _FEATURES, frozenset())["features"]
    return pc.if_else(late, features, pa.scalar(None, pa.binary()))
