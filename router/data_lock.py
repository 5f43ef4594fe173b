"""Locks on the data directory: one service at a time, and its files for its user alone."""

import fcntl
import os
from pathlib import Path
from typing import IO

from router.errors import StoreInUseError


def lock_data(path: Path) -> IO[str]:
    """The lock that says this directory is this process's, its pid in it."""
    lock = open_private(path)
    if not try_lock(lock):
        with lock:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
        raise StoreInUseError(
            f"another service (pid {pid}) runs on {path.parent}: stop it, or name another "
            "directory with --data",
            field="data",
        )
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def open_private(path: Path) -> IO[str]:
    """A file to read and append to, made for its owner alone where there is none."""
    return open(path, "a+", encoding="utf-8", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def try_lock(file: IO[str]) -> bool:
    """Whether the file's lock is ours now; it goes with the file's last descriptor."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
