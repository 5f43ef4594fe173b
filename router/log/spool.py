"""The disk that holds events while the store is away.

Each process appends to segment files of its own, `<owner>-<number>.events`, and holds a lock on
`<owner>.lock` while it lives; what a dead process left is adopted by whoever gets its lock. A
segment is a magic line and then records: length and CRC-32 of the payload (little-endian), the
payload. It is removed only once the store has acknowledged all of it; the store drops what it has
already, so a segment may be replayed any number of times.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from router.log.errors import SpoolError

_log = logging.getLogger(__name__)

_MAGIC = b"rag-spool-1\n"
_HEADER = struct.Struct("<II")
_SEGMENT, _LOCK, _DAMAGED = ".events", ".lock", ".damaged"


class Segment(NamedTuple):
    """What could be read of a segment; `sound` unless something other than its tail is damaged."""

    payloads: list[bytes]
    sound: bool


class Spool:
    """Segments of encoded events in one directory, shared by any number of processes.

    Every method may wait for the disk, and only one thread at a time may call them.
    """

    def __init__(self, directory: Path, *, segment_bytes: int = 8 * 2**20) -> None:
        """Store the settings; `open` makes the directory.

        Args:
            directory: where the segments lie.
            segment_bytes: the size from which on a new segment is begun.
        """
        self.directory = directory
        self.damaged = 0
        """How many segments were torn by a crash, or altered since."""
        self._segment_bytes = segment_bytes
        self._owner = ""
        self._number = 0
        self._locks: dict[str, IO[bytes]] = {}
        self._sizes: dict[Path, int] = {}
        self._current: IO[bytes] | None = None
        self._current_path = Path()

    @property
    def size_bytes(self) -> int:
        """The size of all segments that this process has to replay; any thread may ask."""
        return sum(self._sizes.copy().values())

    def open(self) -> None:
        """Make the directory, take a name, and adopt what dead processes left.

        Raises:
            SpoolError: the directory can't be used.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            while (lock := self._lock(owner := _new_owner())) is None:
                pass  # another process took the new file for a dead one's: try another name
            self._owner, self._locks[owner] = owner, lock
            self.adopt()
        except OSError as error:
            raise SpoolError(
                f"the spool directory {self.directory} can't be used ({error.strerror or error}): "
                "make it writable, or name another data directory",
                field="data",
            ) from error

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write the payloads; they are on the disk when this returns.

        Raises OSError where the disk is full or broken; then some of them may be on it.
        """
        if not payloads:
            return
        records = b"".join(
            _HEADER.pack(len(payload), zlib.crc32(payload)) + payload for payload in payloads
        )
        segment = self._current or self._begin()
        try:
            _write_all(segment.fileno(), records)
            os.fsync(segment.fileno())
        except OSError:
            # What follows half a record couldn't be read: cut it off, and begin another segment.
            with contextlib.suppress(OSError):
                os.ftruncate(segment.fileno(), self._sizes[self._current_path])
            self._end()
            raise
        self._sizes[self._current_path] += len(records)
        if self._sizes[self._current_path] >= self._segment_bytes:
            self._end()

    def oldest(self) -> Path | None:
        """The segment to replay next, adopted ones before our own; None if none is left."""
        if not self._sizes:
            return None
        segment = min(self._sizes, key=lambda path: (_owner_of(path) == self._owner, path.name))
        if segment == self._current_path:
            self._end()
        return segment

    def read(self, segment: Path) -> Segment:
        """The payloads in a segment, up to where a crash tore it."""
        content = segment.read_bytes()
        position, payloads = len(_MAGIC), []
        sound = content[:position] == _MAGIC[: len(content)]
        while sound and position + _HEADER.size <= len(content):
            length, crc = _HEADER.unpack_from(content, position)
            payload = content[position + _HEADER.size : position + _HEADER.size + length]
            if len(payload) < length:
                break
            sound = zlib.crc32(payload) == crc
            if sound:
                payloads.append(payload)
                position += _HEADER.size + length
        if position < len(content) or not sound:
            self.damaged += 1
            _log.warning(
                "%s is torn: %d bytes after %d whole records can't be read",
                segment,
                len(content) - position,
                len(payloads),
            )
        return Segment(payloads, sound)

    def remove(self, segment: Path, whole: bool = True) -> None:
        """Forget a segment that was replayed; one that wasn't wholly understood is set aside."""
        if whole:
            segment.unlink(missing_ok=True)
        else:
            segment.rename(segment.with_suffix(_DAMAGED))
            _log.error("%s was set aside: not all of it could be read", segment)
        self._sizes.pop(segment, None)
        owner = _owner_of(segment)
        if owner != self._owner:
            self._unlock_if_empty(owner)

    def adopt(self) -> None:
        """Take over the segments of processes that have died."""
        files = [*self.directory.glob(f"*{_SEGMENT}"), *self.directory.glob(f"*{_LOCK}")]
        for owner in sorted({_owner_of(file) for file in files} - self._locks.keys()):
            lock = self._lock(owner)
            if lock is None:
                continue
            self._locks[owner] = lock
            for segment in self.directory.glob(f"{owner}-*{_SEGMENT}"):
                self._sizes[segment] = segment.stat().st_size
            self._unlock_if_empty(owner)

    def close(self) -> None:
        """Let go of everything; segments that remain are the next process's to adopt."""
        self._end()
        for owner in list(self._locks):
            self._unlock_if_empty(owner)
        for lock in self._locks.values():
            lock.close()
        self._locks.clear()
        self._sizes.clear()

    def _begin(self) -> IO[bytes]:
        self._number += 1
        path = self.directory / f"{self._owner}-{self._number:08d}{_SEGMENT}"
        segment = path.open("xb", buffering=0)
        try:
            _write_all(segment.fileno(), _MAGIC)
            _sync_directory(self.directory)
        except OSError:
            segment.close()
            path.unlink(missing_ok=True)
            raise
        self._current, self._current_path = segment, path
        self._sizes[path] = len(_MAGIC)
        return segment

    def _end(self) -> None:
        if self._current is not None:
            self._current.close()
            self._current, self._current_path = None, Path()

    def _lock(self, owner: str) -> IO[bytes] | None:
        """The owner's lock, if nobody holds it; held until it is closed."""
        path = self.directory / f"{owner}{_LOCK}"
        lock = path.open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have removed it since it was opened.
            if path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                return lock
        except (BlockingIOError, FileNotFoundError):
            pass
        lock.close()
        return None

    def _unlock_if_empty(self, owner: str) -> None:
        if not any(_owner_of(segment) == owner for segment in self._sizes):
            (self.directory / f"{owner}{_LOCK}").unlink(missing_ok=True)
            self._locks.pop(owner).close()


def _new_owner() -> str:
    return f"{os.getpid()}.{secrets.token_hex(4)}"


def _owner_of(file: Path) -> str:
    """`12.ab` of `12.ab-00000001.events` and of `12.ab.lock`."""
    return file.name.removesuffix(_LOCK).removesuffix(_SEGMENT).partition("-")[0]


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
