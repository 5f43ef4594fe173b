"""One export at a time to one destination.

A directory is locked by the operating system, which frees it the moment its holder dies. Object
storage has no locks: there a lease in the store, by destination, keeps others away, and expires. A
holder that was paused for longer can be overtaken; it learns so when it confirms a commit, and
what it wrote after that counts for nothing (`training.log.export_state`).
"""

import fcntl
import os
import secrets
import socket
import time
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Protocol

from policies.store_keys import StoreKeys
from training.atomic_file import sync_directory
from training.errors import InputError, TrainingError
from training.log.log_folder import LocalFolder, LogFolder, make_directories

LOCK_FILE = "export.lock"
LEASE_S = 30.0

# A full store takes these writes, too: exporting is what makes it less full.
# KEYS of the scripts: the lease, and the number of the last run, which has no end.
# ARGV: the holder, the lease in ms. Another holder, or the last run's number.
_ACQUIRE = """#!lua flags=allow-oom
local holder = redis.call('GET', KEYS[1])
if holder then return {holder, ''} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'', redis.call('GET', KEYS[2]) or '0'}
"""
# ARGV: the holder, the lease in ms, the last run when it was acquired, a number to be greater than.
# 0 where another holds it, or has run since; a lease that has only expired is taken again.
_NEXT_RUN = """#!lua flags=allow-oom
local holder = redis.call('GET', KEYS[1])
local last = redis.call('GET', KEYS[2]) or '0'
if (holder and holder ~= ARGV[1]) or last ~= ARGV[3] then return 0 end
local run = math.max(tonumber(last), tonumber(ARGV[4])) + 1
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], run)
return run
"""
# ARGV: the holder, the lease in ms, its run. 0 where another run has begun since.
_CONFIRM = """#!lua flags=allow-oom
if redis.call('GET', KEYS[2]) ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
# ARGV: the holder.
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class ExportBusyError(TrainingError):
    """Another export writes to the directory."""

    exit_status = 1


class ExportLock(Protocol):
    """Held from `acquire` to `release`."""

    def acquire(self) -> None:
        """Take it, or raise ExportBusyError."""

    def next_run(self, after: int) -> int:
        """The number of the run that has begun: greater than `after` and any given before."""

    def confirm(self) -> None:
        """Raise ExportBusyError where another run has begun since; what it finds is committed."""

    def renew(self) -> None:
        """Keep it while work goes on, called often; raises ExportBusyError as `confirm` does."""

    def release(self) -> None:
        """Let others have it; fine where it was never taken."""


def export_lock(
    folder: LogFolder, client: Any, keys: StoreKeys, lease_s: float = LEASE_S
) -> ExportLock:
    """The lock of a destination."""
    if isinstance(folder, LocalFolder):
        return DirectoryLock(folder)
    return StoreLease(folder, client, keys, lease_s)


class DirectoryLock:
    """A lock file in a local directory."""

    def __init__(self, folder: LocalFolder) -> None:
        """Store the directory."""
        self._folder = folder
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Raises InputError where the directory can't be made or written to, besides."""
        file = self._open()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with file:
                file.seek(0)
                pid = file.read().strip() or "unknown"
            raise ExportBusyError(
                f"another export (pid {pid}) is writing to {self._folder}: wait for it, or name "
                "another directory"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def _open(self) -> IO[str]:
        directory = Path(self._folder.root)
        try:
            for changed in make_directories(directory):
                sync_directory(changed)
            return (directory / LOCK_FILE).open("a+", encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"can't be written to ({error.strerror}): name another with --to", path=self._folder
            ) from error

    def next_run(self, after: int) -> int:
        """The next: nobody else numbers runs while the lock is held."""
        return after + 1

    def confirm(self) -> None:
        """A lock file can't be lost."""

    def renew(self) -> None:
        """Nor does it expire."""

    def release(self) -> None:
        if self._file is not None:
            self._file.close()


class StoreLease:
    """A lease in the store that the export reads from."""

    def __init__(self, folder: LogFolder, client: Any, keys: StoreKeys, lease_s: float) -> None:
        """Store the parts. A destination is its bucket and prefix, however it is reached."""
        self._folder, self._client, self._lease_s = folder, client, lease_s
        destination = sha256(folder.root.encode()).hexdigest()[:16]
        self._lease = f"{keys.prefix}:export:{destination}"
        self._runs = f"{self._lease}:run"
        self._holder = f"pid {os.getpid()} on {socket.gethostname()}/{secrets.token_hex(8)}"
        self._run, self._renewed = 0, time.monotonic()

    def acquire(self) -> None:
        holder, last = self._eval(_ACQUIRE, self._lease_ms)
        if holder:
            raise ExportBusyError(
                f"another export ({holder.decode().rpartition('/')[0]}) is writing to "
                f"{self._folder}, or was killed less than {self._lease_s:g} s ago: wait for it, or "
                "name another directory"
            )
        self._run = int(last)

    def next_run(self, after: int) -> int:
        """Raises ExportBusyError where another run has begun since `acquire`."""
        run = int(self._eval(_NEXT_RUN, self._lease_ms, self._run, after))
        if not run:
            raise self._lost()
        self._run, self._renewed = run, time.monotonic()
        return run

    def confirm(self) -> None:
        if not self._eval(_CONFIRM, self._lease_ms, self._run):
            raise self._lost()
        self._renewed = time.monotonic()

    def renew(self) -> None:
        if time.monotonic() - self._renewed > self._lease_s / 4:
            self.confirm()

    def release(self) -> None:
        self._eval(_RELEASE)

    def _eval(self, script: str, *arguments: int) -> Any:
        return self._client.eval(script, 2, self._lease, self._runs, self._holder, *arguments)

    @property
    def _lease_ms(self) -> int:
        return max(1, int(self._lease_s * 1000))

    def _lost(self) -> ExportBusyError:
        return ExportBusyError(
            f"another export has begun to write to {self._folder}, as this one was paused for more "
            f"than {self._lease_s:g} s: it goes on from what was committed, nothing is lost"
        )
