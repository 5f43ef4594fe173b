"""From the store's streams to the Parquet log, resumable and exactly once.

Entries are read in batches, each batch written to files named by its range of stream ids, and then
`export.json` in the directory is replaced: that is the commit. Whatever a crash leaves beyond the
committed ids is removed by the next run, which reads those entries again.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Self, cast

import msgspec
import redis

from policies.errors import EventError
from policies.events import AnswerFinished, DecisionMade, Event, FeedbackGiven, decode_event
from policies.store_keys import DEFAULT_PREFIX, EVENT_FIELD, StoreKeys
from training.errors import EmptyLogError, InputError, TrainingError
from training.log.event_tables import Kind, answers_table, decisions_table, feedback_table
from training.log.parts import write_part

Stream = Literal["decisions", "feedback"]
STREAMS: tuple[Stream, ...] = ("decisions", "feedback")

STATE_FILE, LOCK_FILE = "export.json", "export.lock"

_STREAM_OF: dict[Kind, Stream] = {
    "decisions": "decisions",
    "answers": "decisions",
    "feedback": "feedback",
}
_START = "0-0"
_PART = re.compile(r"export-\d+-\d+_(\d+-\d+)\.parquet")

# Entries are fetched in chunks, so that a batch of long queries stays within these bounds.
_CHUNK_ENTRIES = 1_000
_BATCH_BYTES = 64 * 2**20

Entry = tuple[bytes, dict[bytes, bytes]]


class ExportBusyError(TrainingError):
    """Another export writes to the directory."""

    exit_status = 1


class ExportState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is committed, over all runs.

    `log` names the store's log; `committed` is the last id exported of each stream, `kept` the
    first that no row was written for (it can't be trimmed), `entries` how many were read.
    """

    log: str
    committed: dict[str, str] = {}
    kept: dict[str, str] = {}
    entries: int = 0
    schema: int = 1


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one run has written: rows by kind, entries left out, files, entries trimmed."""

    decisions: int = 0
    answers: int = 0
    feedback: int = 0
    unknown: int = 0
    damaged: int = 0
    files: int = 0
    trimmed: int = 0


class _Batch(NamedTuple):
    decisions: list[DecisionMade]
    answers: list[AnswerFinished]
    feedback: list[FeedbackGiven]
    unknown: int
    damaged: int
    first_left_out: str | None


class LogExport:
    """One run over a store and a directory; a context that holds the directory's lock."""

    def __init__(
        self,
        client: redis.Redis,
        directory: Path,
        *,
        prefix: str = DEFAULT_PREFIX,
        batch_entries: int = 10_000,
    ) -> None:
        """Store the parts; entering the context begins.

        Args:
            client: of the store, not decoding responses; its errors pass through.
            directory: where the log is written; made if it isn't there.
            prefix: what the service's keys begin with.
            batch_entries: entries committed at once, at most.
        """
        # The client's type hints answer for its asynchronous twin too.
        self._client = cast("Any", client)
        self._directory = directory
        self._keys = StoreKeys(prefix)
        self._batch_entries = batch_entries
        self._state = ExportState(log="")
        self._lock: IO[str] | None = None
        self.resumed = False
        """Whether the directory had been exported to before."""

    def __enter__(self) -> Self:
        """Lock the directory, check whose log it holds, and remove what a crash left.

        Raises:
            ExportBusyError: another export writes there.
            InputError: the directory can't be used, or holds another store's log.
            EmptyLogError: the store has never had a decision.
        """
        earlier = _read_state(self._directory / STATE_FILE)
        if earlier is None and not self._client.exists(self._keys.decisions):
            raise EmptyLogError(
                "the store has never had a decision: send queries to the service's /v1/route (or "
                "run rag-policy simulate), then export again"
            )
        self._lock = _lock(self._directory)
        try:
            self._begin()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def _begin(self) -> None:
        earlier = _read_state(self._directory / STATE_FILE)
        self._client.set(self._keys.log_id, secrets.token_hex(8), nx=True)
        log = self._client.get(self._keys.log_id).decode()
        if earlier is not None and earlier.log != log:
            raise InputError(
                "holds the log of another store, or of this one before it was emptied: export to "
                "another directory",
                path=self._directory,
            )
        self.resumed = earlier is not None
        if earlier is None:
            # From here on files without a state are somebody's copy, never leftovers to remove.
            self._refuse_copied_parts()
            self._save(ExportState(log=log))
        else:
            self._state = earlier
            self._remove_uncommitted()

    def _refuse_copied_parts(self) -> None:
        if any(True for kind in _STREAM_OF for _ in self._parts(kind)):
            raise InputError(
                f"holds exported files, but not the {STATE_FILE} that says what they hold: restore "
                "it, or export to another directory",
                path=self._directory,
            )

    def pending(self) -> int:
        """How many entries wait to be exported; an upper bound if others trimmed the streams."""
        keys = [key for stream in STREAMS if self._client.exists(key := self._key(stream))]
        held = sum(int(self._client.xlen(key)) for key in keys)
        added = sum(int(self._client.xinfo_stream(key)["entries-added"]) for key in keys)
        return max(0, min(held, added - self._state.entries))

    def run(
        self, *, trim: bool = False, advance: Callable[[int], None] = lambda _: None
    ) -> ExportReport:
        """Export what the store holds as of now.

        Args:
            trim: remove from the store what is safely written. A trimmed decision can't be looked
                up at the service any more; feedback on it is still accepted.
            advance: told of each number of entries that is done.
        """
        report = ExportReport()
        for stream in STREAMS:
            for entries in self._batches(stream):
                batch = _decode(entries)
                files = self._write(batch, _part_name(entries))
                self._commit(stream, entries, batch.first_left_out)
                report = _add(report, batch, files)
                advance(len(entries))
        if trim:
            trimmed = sum(self._trim(stream) for stream in STREAMS)
            report = msgspec.structs.replace(report, trimmed=trimmed)
        return report

    def _batches(self, stream: Stream) -> Iterator[list[Entry]]:
        """Batches from after the committed id up to the last id as of now."""
        key = self._key(stream)
        last = self._client.xrevrange(key, count=1)
        if not last:
            return
        until = last[0][0]
        position, batch, size = self._position(stream), list[Entry](), 0
        while True:
            chunk: list[Entry] = self._client.xrange(
                key, min=f"({position}", max=until, count=min(_CHUNK_ENTRIES, self._batch_entries)
            )
            batch += chunk
            size += sum(len(fields.get(EVENT_FIELD.encode(), b"")) for _, fields in chunk)
            if chunk:
                position = chunk[-1][0].decode()
            if batch and (not chunk or len(batch) >= self._batch_entries or size >= _BATCH_BYTES):
                yield batch
                batch, size = [], 0
            if not chunk:
                return

    def _write(self, batch: _Batch, name: str) -> int:
        """Write a batch's files; they are on the disk when this returns. How many there are."""
        parts = [
            *write_part(decisions_table(batch.decisions), self._directory, "decisions", name),
            *write_part(answers_table(batch.answers), self._directory, "answers", name),
            *write_part(feedback_table(batch.feedback), self._directory, "feedback", name),
        ]
        # The files and their days' directories are synced already, but not these entries above.
        for directory in {part.parent.parent for part in parts}:
            _sync(directory)
        _sync(self._directory)
        return len(parts)

    def _commit(self, stream: Stream, entries: Sequence[Entry], left_out: str | None) -> None:
        state = self._state
        self._save(
            msgspec.structs.replace(
                state,
                committed={**state.committed, stream: entries[-1][0].decode()},
                kept=state.kept if left_out is None else {stream: left_out, **state.kept},
                entries=state.entries + len(entries),
            )
        )

    def _save(self, state: ExportState) -> None:
        staging = self._directory / f".{STATE_FILE}.tmp"
        with staging.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        staging.replace(self._directory / STATE_FILE)
        _sync(self._directory)
        self._state = state

    def _trim(self, stream: Stream) -> int:
        """Remove the entries up to the committed id, or before the first that wasn't written."""
        milliseconds, sequence = _numbers(self._position(stream))
        beyond = self._state.kept.get(stream, f"{milliseconds}-{sequence + 1}")
        return int(self._client.xtrim(self._key(stream), minid=beyond, approximate=False))

    def _remove_uncommitted(self) -> None:
        for kind, stream in _STREAM_OF.items():
            committed = _numbers(self._position(stream))
            for part in self._parts(kind):
                named = _PART.fullmatch(part.name)
                if named is not None and _numbers(named[1]) > committed:
                    part.unlink()
            for half_written in (self._directory / kind).glob("day=*/**/.export-*.tmp"):
                half_written.unlink()

    def _parts(self, kind: Kind) -> Iterator[Path]:
        return (self._directory / kind).glob("day=*/**/export-*.parquet")

    def _position(self, stream: Stream) -> str:
        return self._state.committed.get(stream, _START)

    def _key(self, stream: Stream) -> str:
        return self._keys.decisions if stream == "decisions" else self._keys.feedback


def _decode(entries: Sequence[Entry]) -> _Batch:
    events: list[Event] = []
    left_out: list[bytes] = []
    damaged = 0
    for entry_id, fields in entries:
        event = None
        try:
            event = decode_event(fields.get(EVENT_FIELD.encode(), b""))
        except EventError:
            damaged += 1
        if event is None:
            left_out.append(entry_id)
        else:
            events.append(event)
    return _Batch(
        [event for event in events if isinstance(event, DecisionMade)],
        [event for event in events if isinstance(event, AnswerFinished)],
        [event for event in events if isinstance(event, FeedbackGiven)],
        unknown=len(left_out) - damaged,
        damaged=damaged,
        first_left_out=left_out[0].decode() if left_out else None,
    )


def _add(report: ExportReport, batch: _Batch, files: int) -> ExportReport:
    return ExportReport(
        decisions=report.decisions + len(batch.decisions),
        answers=report.answers + len(batch.answers),
        feedback=report.feedback + len(batch.feedback),
        unknown=report.unknown + batch.unknown,
        damaged=report.damaged + batch.damaged,
        files=report.files + files,
    )


def _part_name(entries: Sequence[Entry]) -> str:
    """By its range of stream ids, padded so that names sort as the ids do."""
    first, last = (_numbers(entry_id.decode()) for entry_id, _ in (entries[0], entries[-1]))
    return f"export-{first[0]:013d}-{first[1]:06d}_{last[0]:013d}-{last[1]:06d}"


def _numbers(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def _read_state(path: Path) -> ExportState | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ExportState)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(
            f"can't be read ({error}): restore it, or export to another directory", path=path
        ) from error


def _lock(directory: Path) -> IO[str]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / LOCK_FILE).open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"can't be written to ({error.strerror}): name another with --to", path=directory
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        with lock:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
        raise ExportBusyError(
            f"another export (pid {pid}) is writing to {directory}: wait for it, or name another "
            "directory"
        ) from error
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
