"""From the store's streams to the Parquet log, resumable and exactly once.

Entries are read in batches, each batch written to files named by its range of stream ids, and then
the run's state is replaced, in one atomic write: that is the commit. Whatever a crash leaves beyond
what is committed is removed by the next run, which reads those entries again.
"""

import gc
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self, TypeVar, cast

import msgspec
import pyarrow as pa
import redis
from redis.exceptions import RedisClusterException

from policies.store_keys import DEFAULT_PREFIX, StoreKeys
from training.errors import EmptyLogError, InputError
from training.log.event_tables import KINDS
from training.log.export_batch import ExportBatch
from training.log.export_lock import LEASE_S, ExportBusyError, export_lock
from training.log.export_parts import DAMAGED, ExportedFiles, part_name
from training.log.export_state import STATE_FILE, ExportState, StateFile
from training.log.export_streams import (
    LogStream,
    entries_after,
    entry_number,
    export_streams,
    stream_end,
)
from training.log.log_folder import LogPlace, log_folder
from training.log.parts import TENANT_FOLDERS, part_files
from training.progress import note
from training.run_notes import note_success

__all__ = ["ExportBusyError", "ExportReport", "LogExport"]

# What is committed at once. Memory is bounded by the bytes: an event as columns takes about as much
# as its encoding, a table is copied once on its way, and its file is made in memory.
BATCH_ENTRIES = 50_000
_BATCH_BYTES = 64 * 2**20
# KEYS: the log's name. ARGV: the name, if it has none. A full store takes this write: exporting is
# what makes it less full.
_NAME_LOG = """#!lua flags=allow-oom
redis.call('SET', KEYS[1], ARGV[1], 'NX')
"""

T = TypeVar("T")


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one run has written: rows by kind, entries left out, files, entries trimmed.

    `missed` counts entries that somebody else had removed from the store before this destination
    had them. `held_back` is by stream the id of the first entry that only a later release knows: it
    and what came after it isn't trimmed.
    """

    decisions: int = 0
    answers: int = 0
    feedback: int = 0
    unknown: int = 0
    damaged: int = 0
    files: int = 0
    trimmed: int = 0
    missed: int = 0
    held_back: dict[str, str] = {}


class LogExport:
    """One run over a store and a destination; a context that holds the destination's lock."""

    def __init__(
        self,
        client: redis.Redis,
        destination: str | LogPlace,
        *,
        prefix: str = DEFAULT_PREFIX,
        batch_entries: int = BATCH_ENTRIES,
        tenant_folders: int = TENANT_FOLDERS,
        lease_s: float = LEASE_S,
    ) -> None:
        """Store the parts; entering the context begins.

        Args:
            client: of the store, not decoding responses; its errors pass through.
            destination: where the log is written; a directory is made if it isn't there.
            prefix: what the service's keys begin with.
            batch_entries: entries committed at once, at most.
            tenant_folders: how many tenants of a batch get folders of their own, at most.
            lease_s: on object storage, how long others wait for an export that may have died.
        """
        # The client's type hints answer for its asynchronous twin too.
        self._client = cast("Any", client)
        self._folder = log_folder(destination)
        self._keys = StoreKeys(prefix)
        self._batch_entries, self._tenant_folders = batch_entries, tenant_folders
        self._lock = export_lock(self._folder, self._client, self._keys, lease_s)
        self._file = StateFile(self._folder)
        self._state = ExportState(log="")
        self._streams: tuple[LogStream, ...] = ()
        self.resumed = False
        """Whether the destination had been exported to before."""

    def __enter__(self) -> Self:
        """Lock the destination, check whose log it holds, and remove what a crash left.

        Raises:
            ExportBusyError: another export writes there.
            InputError: the destination can't be used, or holds another store's log.
            FolderError: the object storage can't be used.
            EmptyLogError: the store has never had a decision.
        """
        self._streams = export_streams(self._client, self._keys)
        if not self._has_decisions() and not (
            self._folder.exists() and self._file.read() is not None
        ):
            raise EmptyLogError(
                "the store has never had a decision: send queries to the service's /v1/route (or "
                "run rag-policy simulate), then export again"
            )
        self._lock.acquire()
        try:
            self._begin()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # A lease that can't be given back expires; whatever ended the block says more.
        with suppress(redis.RedisError, RedisClusterException):
            self._lock.release()

    def _has_decisions(self) -> bool:
        return any(
            self._client.exists(stream.key)
            for stream in self._streams
            if "decisions" in stream.kinds
        )

    def _log_id(self) -> str:
        """The name of the store's log; given here where it has none yet."""
        self._client.eval(_NAME_LOG, 1, self._keys.log_id, secrets.token_hex(8))
        return str(self._client.get(self._keys.log_id).decode())

    def _begin(self) -> None:
        earlier = self._file.read()
        log = self._log_id()
        if earlier is not None and earlier.log != log:
            raise InputError(
                "holds the log of another store, or of this one before it was emptied: export to "
                "another directory",
                path=self._folder,
            )
        found = ExportedFiles.found(self._folder)
        if any(part.run > (-1 if earlier is None else earlier.run) for part in found.parts):
            # Files that no state knows of are somebody's copy, never leftovers to remove.
            raise InputError(
                f"holds exported files, but not the {STATE_FILE} that says what they hold: restore "
                "it, or export to another directory",
                path=self._folder,
            )
        self.resumed = earlier is not None
        before = earlier or ExportState(log=log)
        # From here on nothing that an earlier run still writes counts.
        self._save(before.next_run(self._lock.next_run(before.run)))
        self._file.remove_earlier(self._state)
        left = found.leftovers(
            self._streams, run=before.run, committed=before.committed, began=before.began
        )
        self._folder.delete(self._renewing(left))

    def pending(self) -> int:
        """How many entries wait to be exported; an upper bound if others trimmed the streams."""
        held = sum(int(self._client.xlen(stream.key)) for stream in self._streams)
        added = sum(stream_end(self._client, stream).added for stream in self._streams)
        return max(0, min(held, added - self._state.entries - self._state.missed))

    def run(
        self, *, trim: bool = False, advance: Callable[[int], None] = lambda _: None
    ) -> ExportReport:
        """Export what the store holds as of now.

        Args:
            trim: remove from the store what is safely written. A trimmed decision can't be looked
                up at the service any more; feedback on it is still accepted.
            advance: told of each number of entries that is done.

        Raises:
            ExportBusyError: on object storage, another export has overtaken this one.
        """
        report, added = ExportReport(), 0
        with _no_cycle_collection():
            for stream in self._streams:
                end = stream_end(self._client, stream)
                added += end.added
                for batch in self._batches(stream, end.last):
                    report = _sum(report, self._export(stream, batch))
                    advance(batch.entries)
        report = msgspec.structs.replace(report, missed=self._missed(added))
        if trim:
            trimmed = sum(self._trim(stream) for stream in self._streams)
            held_back = dict(self._state.kept)
            report = msgspec.structs.replace(report, trimmed=trimmed, held_back=held_back)
        self._note_success()
        return report

    def _note_success(self) -> None:
        # What was exported stays so, whatever becomes of the note.
        try:
            note_success(self._client, self._keys, "export")
        except (redis.RedisError, RedisClusterException) as error:
            note(f"that this export succeeded isn't noted in the store: {error}")

    def _missed(self, added: int) -> int:
        """How many more, of all entries ever added, were gone before they were read."""
        missed = added - self._state.entries - self._state.missed
        if missed > 0:
            self._save(msgspec.structs.replace(self._state, missed=self._state.missed + missed))
        return max(0, missed)

    def _batches(self, stream: LogStream, until: str | None) -> Iterator[ExportBatch]:
        """Batches from after the committed id up to an id; none for an empty stream."""
        if until is None:
            return
        batch = ExportBatch()
        position = self._state.position(stream)
        for entries in entries_after(
            self._client, stream, position, until, at_most=self._batch_entries
        ):
            self._lock.renew()
            batch.add(entries)
            if batch.entries >= self._batch_entries or batch.size >= _BATCH_BYTES:
                yield batch
                batch = ExportBatch()
        if batch.entries:
            yield batch

    def _export(self, stream: LogStream, batch: ExportBatch) -> ExportReport:
        """Write a batch's files and commit it."""
        name = part_name(batch.first, batch.last, self._state.run, stream)
        rows = dict.fromkeys(KINDS, 0)
        files = 0

        def contents() -> Iterator[tuple[str, pa.Buffer]]:
            nonlocal files
            for kind, table in batch.tables():
                rows[kind] = table.num_rows
                for part in part_files(table, kind, name, tenant_folders=self._tenant_folders):
                    files += 1
                    yield part
            if batch.damaged:
                lines = msgspec.json.Encoder().encode_lines(batch.damaged)
                yield f"{DAMAGED}/{stream.name}/{name}.jsonl", lines

        self._folder.write_all(self._renewing(contents()))
        self._save(self._state.after(stream, batch.last, batch.entries, batch.first_unknown))
        return ExportReport(
            decisions=rows["decisions"],
            answers=rows["answers"],
            feedback=rows["feedback"],
            unknown=batch.unknown,
            damaged=len(batch.damaged),
            files=files,
        )

    def _renewing(self, work: Iterable[T]) -> Iterator[T]:
        """The work, piece by piece, with others kept away from the destination meanwhile."""
        for piece in work:
            self._lock.renew()
            yield piece

    def _save(self, state: ExportState) -> None:
        self._file.save(state)
        # Before anything relies on it: what is saved once another run has begun isn't committed.
        self._lock.confirm()
        self._state = state

    def _trim(self, stream: LogStream) -> int:
        """Remove the entries up to the committed id, or before the first of a later release."""
        milliseconds, sequence = entry_number(self._state.position(stream))
        beyond = self._state.kept.get(stream.name, f"{milliseconds}-{sequence + 1}")
        return int(self._client.xtrim(stream.key, minid=beyond, approximate=False))


@contextmanager
def _no_cycle_collection() -> Iterator[None]:
    """Events are many small containers without cycles: looking for some took half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _sum(one: ExportReport, other: ExportReport) -> ExportReport:
    counts, more = msgspec.structs.asdict(one), msgspec.structs.asdict(other)
    del counts["held_back"]
    return ExportReport(**{name: count + more[name] for name, count in counts.items()})
