"""Rows as Parquet files: `{decisions,answers,feedback}/day=YYYY-MM-DD/[tenant=T/]NAME.parquet`.

The day is that of the event's own `at`, in UTC. Decisions lie by tenant below that (answers and
feedback don't carry one): the tenant's name percent-escaped, `__HIVE_DEFAULT_PARTITION__` for none.
Of one batch only the largest tenants get folders of their own and the others share
`tenant=__other__`, so that ten thousand tenants don't make ten thousand files. A tenant's rows may
hence lie in several folders: readers take the tenant from the column, never from the path.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from training.log.event_tables import Kind
from training.log.log_folder import log_folder

# Tenants with folders of their own, of one batch.
TENANT_FOLDERS = 32

NO_VALUE, OTHERS = "__HIVE_DEFAULT_PARTITION__", "__other__"
# File systems allow names of 255 bytes.
_LONGEST = 200
_DAY_SECONDS = 86_400
_LATEST = 253_402_300_799.0  # 31 December 9999

# Of these a dictionary would be as long as the column, or nearly.
_DISTINCT = frozenset(
    {
        "decision_id",
        "feedback_id",
        "at",
        "query",
        "query_hash",
        "features",
        "probabilities",
        "propensity",
        "expected",
        "metrics",
        "evidence",
        "retrieval",
        "value",
        "comment",
        "demonstration",
    }
)

Ints = NDArray[np.int64]


def part_files(
    table: pa.Table, kind: Kind, name: str, *, tenant_folders: int = TENANT_FOLDERS
) -> Iterator[tuple[str, pa.Buffer]]:
    """(path below the log's folder, content) of each file that the rows make.

    Args:
        table: rows of one kind, in order; may be empty.
        kind: which.
        name: the files' name, without ending: one file of that name in each folder.
        tenant_folders: how many tenants get folders of their own at most.
    """
    for folder, rows in partitions(table, tenant_folders):
        yield f"{kind}/{folder}/{name}.parquet", parquet_bytes(rows)


def partitions(table: pa.Table, tenant_folders: int) -> Iterator[tuple[str, pa.Table]]:
    """The rows by folder, in order of the folders' names and, within one, as they were."""
    days, labels = _days(table["at"]), [""]
    tenants = np.zeros(table.num_rows, dtype=np.int64)
    if "tenant" in table.column_names:
        tenants, labels = _tenants(table["tenant"], tenant_folders)
    keys, inverse = np.unique(days * len(labels) + tenants, return_inverse=True)
    if len(keys) > 1:
        table = table.take(pa.array(np.argsort(inverse, kind="stable")))
    start = 0
    for key, rows in zip(keys.tolist(), np.bincount(inverse).tolist(), strict=True):
        day, tenant = divmod(key, len(labels))
        yield f"day={_date(day)}{labels[tenant]}", table.slice(start, rows)
        start += rows


def _days(at: Any) -> Ints:
    """(n,) days since 1970; -1 for what is no time."""
    seconds = at.to_numpy()
    sound = (seconds >= 0.0) & (seconds <= _LATEST)  # false for NaN as well
    return np.floor_divide(np.where(sound, seconds, -1.0), _DAY_SECONDS).astype(np.int64)


def _date(day: int) -> str:
    if day < 0:
        return NO_VALUE
    return datetime.fromtimestamp(day * _DAY_SECONDS, UTC).date().isoformat()


def _tenants(column: Any, tenant_folders: int) -> tuple[Ints, list[str]]:
    """(n,) the position of each row's folder; the folders, sorted."""
    encoded = column.combine_chunks().fill_null("").dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    names = encoded.dictionary.to_pylist()
    largest = np.argsort(-np.bincount(codes, minlength=len(names)), kind="stable")[:tenant_folders]
    folders = dict.fromkeys(range(len(names)), f"/tenant={OTHERS}")
    taken = {OTHERS}
    for code in largest.tolist():
        label = quote(names[code], safe="") or NO_VALUE
        # Names that differ in case alone are one folder to some file systems: one would overwrite
        # the other's file there.
        if len(label) <= _LONGEST and label.casefold() not in taken:
            taken.add(label.casefold())
            folders[code] = f"/tenant={label}"
    labels = sorted(set(folders.values()))
    position = {label: index for index, label in enumerate(labels)}
    of_code = np.array([position[folders[code]] for code in range(len(names))], dtype=np.int64)
    return of_code[codes], labels or [""]


def parquet_bytes(table: pa.Table) -> pa.Buffer:
    """The rows as one Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in table.column_names if name not in _DISTINCT],
    )
    return sink.getvalue()


def write_part(
    table: pa.Table,
    directory: Path,
    kind: Kind,
    name: str,
    *,
    tenant_folders: int = TENANT_FOLDERS,
) -> list[Path]:
    """Write the rows to a directory, as `part_files` names them; they are on the disk then.

    A file of that name is replaced, whole. Returns the files in order of their paths; none for a
    table without rows.
    """
    written = []

    def noted() -> Iterator[tuple[str, pa.Buffer]]:
        for path, content in part_files(table, kind, name, tenant_folders=tenant_folders):
            written.append(directory / path)
            yield path, content

    log_folder(directory).write_all(noted())
    return written


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write one file so that a reader, or a crash, sees all of it or nothing."""
    log_folder(path.parent).write(path.name, parquet_bytes(table))
