"""Files between two passes over a log: rows by bucket, on storage that all workers share."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.errors import InputError
from training.fit.folds import Ints
from training.log.log_folder import LocalFolder, LogFolder, LogPlace, log_folder

# Of the hash's random numbers: every process must deal rows alike.
_HASH_SEED = 20260101


@contextmanager
def scratch_folder(parent: LogPlace | None) -> Iterator[Callable[[], LogFolder]]:
    """A function that gives a new folder, made when it is first called and removed with the block.

    Args:
        parent: in which directory, or below which prefix of object storage; None for the system's
            temporary directory, which only processes of this machine share.

    Raises:
        InputError: the parent is no directory.
    """
    made: list[LogFolder] = []

    def folder() -> LogFolder:
        if not made:
            made.append(_make(parent))
        return made[0]

    try:
        yield folder
    finally:
        for one in made:
            if isinstance(one, LocalFolder):
                shutil.rmtree(one.root, ignore_errors=True)
            else:
                one.delete(file.name for file in one.files())


def _make(parent: LogPlace | None) -> LogFolder:
    if parent is None:
        return log_folder(Path(tempfile.mkdtemp(prefix="rag-policy-")))
    folder = log_folder(parent)
    if not isinstance(folder, LocalFolder):
        return folder / f"rag-policy-{uuid.uuid4().hex}"
    if not folder.exists():
        raise InputError(
            "no such directory: make it, on storage that all workers share", path=folder
        )
    return log_folder(Path(tempfile.mkdtemp(prefix="rag-policy-", dir=folder.root)))


def write_buckets(table: pa.Table, bucket: Ints, count: int, folder: LogFolder, name: str) -> None:
    """Write the rows, in their order, as one record batch for each of `count` buckets.

    The file is complete or absent, and writing it again is harmless: a step may run twice.
    """
    order = np.argsort(bucket, kind="stable")
    ends = np.searchsorted(bucket[order], np.arange(count + 1))
    rows = table.take(pa.array(order)).combine_chunks()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        _whole_file(folder, name) as sink,
        pa.ipc.new_file(sink, table.schema, options=options) as file,
    ):
        for first, last in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            file.write_batch(_batch(rows.slice(first, last - first)))


@contextmanager
def _whole_file(folder: LogFolder, name: str) -> Iterator[Any]:
    """A stream to a file that appears when the block ends; an object does so by itself."""
    if not isinstance(folder, LocalFolder):
        with folder.filesystem.open_output_stream(folder.path(name)) as sink:
            yield sink
        return
    path = Path(folder.path(name))
    temporary = path.with_name(f".{name}.{uuid.uuid4().hex}")
    try:
        with pa.OSFile(str(temporary), "wb") as sink:
            yield sink
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def read_bucket(
    folder: LogFolder,
    names: Sequence[str],
    bucket: int,
    schema: pa.Schema,
    without: Sequence[str] = (),
) -> pa.Table:
    """One bucket's rows, in the order of the files; some columns null, and not read.

    Args:
        folder: where the files are.
        names: files with the schema, as `write_buckets` made them.
        bucket: which.
        schema: of the rows.
        without: the columns to leave null.
    """
    wanted = [index for index, name in enumerate(schema.names) if name not in without]
    options = pa.ipc.IpcReadOptions(included_fields=wanted)
    batches = []
    for name in names:
        with folder.open(name) as source:
            batches.append(pa.ipc.open_file(source, options=options).get_batch(bucket))
    narrow = pa.schema([schema.field(index) for index in wanted])
    table = pa.Table.from_batches(batches, narrow)
    absent = {name: pa.nulls(table.num_rows, schema.field(name).type) for name in without}
    return pa.table({**dict(zip(narrow.names, table.columns, strict=True)), **absent}, schema)


def buckets_of(column: Any, count: int) -> Ints:
    """(n,) the bucket of each text: equal texts have one, in every process.

    A multilinear hash, random in each character's place (Carter and Wegman 1979, "Universal classes
    of hash functions"); an absent text counts as empty.
    """
    texts = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    texts = texts.fill_null("").cast(pa.large_string())
    offsets, data = _buffers(texts)
    if len(texts) == 0 or offsets[-1] == offsets[0]:
        return np.zeros(len(texts), dtype=np.intp)
    lengths = np.diff(offsets)
    place = np.arange(offsets[0], offsets[-1]) - np.repeat(offsets[:-1], lengths)
    rng = np.random.default_rng(_HASH_SEED)
    factors = rng.integers(0, 2**64, int(lengths.max()), dtype=np.uint64)
    terms = (data[offsets[0] : offsets[-1]].astype(np.uint64) + np.uint64(1)) * factors[place]
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(terms, dtype=np.uint64)])
    starts = offsets - offsets[0]
    hashes = sums[starts[1:]] - sums[starts[:-1]]  # modulo 2^64, as the sums are
    return np.asarray((hashes >> np.uint64(32)) % np.uint64(count), dtype=np.intp)


def _buffers(texts: Any) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    _, offsets, data = texts.buffers()
    found = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return found, np.frombuffer(data or b"", dtype=np.uint8)
