"""Imported outcomes: full-information rows with their features, in a log's `outcomes/` folder.

A file is named by the hash of what it was made from, so importing the same rows again changes
nothing.
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from policies.features import LOGGED_DTYPE, pack_features, unpack_features
from policies.query import query_hash
from training.errors import InputError
from training.log.log_files import read_parquet, write_parquet
from training.log.log_folder import LogPlace, log_folder
from training.tables.outcomes import Floats, OutcomeTable
from training.tables.query_features import QueryFeatures

FOLDER = "outcomes"
_IMPORTED = re.compile(r"[^./][^/]*\.parquet")
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "query": pa.string(),
        "query_hash": pa.string(),
        "dataset": pa.string(),
        "split": pa.string(),
        "outcomes": pa.map_(pa.string(), pa.map_(pa.string(), pa.float64())),
        "features": pa.binary(),
        "feature_version": pa.string(),
    }
)
_NEEDED = frozenset({"id", "query_hash", "outcomes", "features", "feature_version"})


class WarmStart(NamedTuple):
    """k full-information rows: features (k, d), values (k, A, M) with NaN where unknown."""

    features: NDArray[np.float32]
    feature_version: str
    query_hashes: list[str]
    arms: tuple[str, ...]
    metrics: tuple[str, ...]
    values: Floats
    sha256: str


def import_path(directory: Path, table: OutcomeTable, split: str | None, version: str) -> Path:
    """Where these rows lie once they are imported."""
    content = f"{table.sha256}\0{split or ''}\0{version}"
    return directory / FOLDER / f"{sha256(content.encode()).hexdigest()[:16]}.parquet"


def write_warm_start(table: OutcomeTable, features: QueryFeatures, path: Path) -> None:
    """Store the rows."""
    columns = {
        "id": table.ids,
        "query": table.queries,
        "query_hash": [query_hash(query) for query in table.queries],
        "dataset": table.datasets,
        "split": table.splits,
        "outcomes": [_outcomes(row, table.arms, table.metrics) for row in table.values],
        "features": [pack_features(row) for row in features.matrix],
        "feature_version": [features.version] * len(table),
    }
    arrays: dict[str, Any] = {
        field.name: pa.array(columns[field.name], type=field.type) for field in SCHEMA
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(pa.table(arrays, schema=SCHEMA), path)


def _outcomes(
    row: Floats, arms: Sequence[str], metrics: Sequence[str]
) -> list[tuple[str, list[tuple[str, float]]]]:
    known = ~np.isnan(row)
    return [
        (arm, [(name, float(row[a, m])) for m, name in enumerate(metrics) if known[a, m]])
        for a, arm in enumerate(arms)
        if known[a].any()
    ]


def read_warm_start(location: LogPlace, feature_version: str | None = None) -> WarmStart | None:
    """All imported rows of a log directory; None where there are none.

    Raises:
        InputError: a file is damaged, or was imported with another encoder than the log's.
    """
    folder = log_folder(location) / FOLDER
    files = [file.name for file in folder.files() if _IMPORTED.fullmatch(file.name)]
    if not files:
        return None
    tables: list[Any] = [read_parquet(folder, name, SCHEMA, _NEEDED) for name in files]
    for name, table in zip(files, tables, strict=True):
        versions = set(table["feature_version"].to_pylist())
        feature_version = feature_version or min(versions)
        if versions != {feature_version}:
            raise InputError(
                f"was imported with features {', '.join(sorted(versions))}, the log has "
                f"{feature_version}: delete the file and import again with the log's encoder",
                path=folder / name,
                field="feature_version",
            )
    rows: list[dict[str, dict[str, float]]] = [
        {arm: dict(metrics) for arm, metrics in outcome}
        for table in tables
        for outcome in table["outcomes"].to_pylist()
    ]
    packed = [row for table in tables for row in table["features"].to_pylist()]
    arms = tuple(dict.fromkeys(arm for row in rows for arm in row))
    metrics = dict.fromkeys(
        metric for row in rows for outcome in row.values() for metric in outcome
    )
    names = tuple(sorted(metrics, key=lambda name: name != "quality"))
    return WarmStart(
        features=unpack_features(packed, len(packed[0]) // LOGGED_DTYPE.itemsize),
        feature_version=feature_version or "",
        query_hashes=[value for table in tables for value in table["query_hash"].to_pylist()],
        arms=arms,
        metrics=names,
        values=np.array(
            [[[row.get(arm, {}).get(m, np.nan) for m in names] for arm in arms] for row in rows]
        ),
        sha256=sha256(b"".join(Path(name).stem.encode() for name in files)).hexdigest(),
    )


def warm_start_of(table: OutcomeTable, features: QueryFeatures) -> WarmStart:
    """A table's rows, without storing them."""
    return WarmStart(
        features=features.matrix,
        feature_version=features.version,
        query_hashes=[query_hash(query) for query in table.queries],
        arms=table.arms,
        metrics=table.metrics,
        values=table.values,
        sha256=table.sha256,
    )


def aligned_values(warm: WarmStart, arms: Sequence[str], metrics: Sequence[str]) -> Floats:
    """(k, A, M) the rows' values in another order of arms and metrics, NaN where they lack one.

    Raises:
        InputError: the rows have none of these arms.
    """
    if not set(arms) & set(warm.arms):
        raise InputError(
            f"the outcomes are of the arms {', '.join(warm.arms)}, the log of {', '.join(arms)}: "
            "nothing carries over; name the table's arms as the service does"
        )
    values = np.full((len(warm.values), len(arms), len(metrics)), np.nan)
    for a, arm in enumerate(arms):
        for m, metric in enumerate(metrics):
            if arm in warm.arms and metric in warm.metrics:
                values[:, a, m] = warm.values[:, warm.arms.index(arm), warm.metrics.index(metric)]
    return values
