"""The store that the service brings along: a real Valkey server, started and stopped with it.

It listens on a unix socket in the data directory only, and keeps an append-only file there. `fsync`
says when an acknowledged write is on the disk: with `always` (the default) before it is
acknowledged, at the price of one disk flush for all writes that arrive together (measured: 4 ms
for a lone feedback instead of 0.1, 20,000 batched decisions a second instead of 25,000); with
`everysec` a power failure, or a killed store on a slow disk, may take the last two seconds.
"""

import atexit
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self
from urllib.parse import quote, unquote

from router.data_lock import lock_data, open_private, try_lock
from router.errors import EmbeddedStoreError
from router.store_program import ask_server, launcher, server_binary

_log = logging.getLogger(__name__)

URL_FILE = "store.url"

# A unix socket's path may have 107 bytes on Linux, 103 on macOS.
_LONGEST_SOCKET_PATH = 100
_SOCKET = "store.sock"
_TEMPORARY = "rag-router-store-"


class EmbeddedStore:
    """A Valkey server on a data directory, restarted should it die.

    Only one service at a time may have the directory. A server that a killed service left behind is
    ended cleanly first. `store.url` in the directory names the socket while the server runs.
    """

    def __init__(
        self,
        data: Path,
        *,
        fsync: Literal["always", "everysec"] = "always",
        start_timeout_s: float = 10.0,
    ) -> None:
        """Store the settings.

        Args:
            data: the service's data directory; made if it isn't there.
            fsync: when the append-only file is flushed to the disk.
            start_timeout_s: how long the server may take until it answers, not counting the time
                in which it says that it is loading its data.
        """
        self.data = data.absolute()
        self._directory = self.data / "store"
        self._fsync = fsync
        self._start_timeout = start_timeout_s
        self._lock: IO[str] | None = None
        self._socket = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._stopping = threading.Event()
        self._started = threading.Event()
        self._failure: EmbeddedStoreError | None = None
        self._owner = 0

    @property
    def url(self) -> str:
        """The running server's URL, for any Redis client."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int | None:
        """The running server's process."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> str:
        """Start the server and return its URL once it takes commands; about 0.1 s.

        Raises:
            StoreInUseError: another service runs on the directory.
            EmbeddedStoreError: the directory can't be used, or the server doesn't start.
        """
        if self._keeper is not None:
            return self.url
        binary = server_binary()
        try:
            self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._directory.mkdir(exist_ok=True, mode=0o700)
            self._lock = lock_data(self.data / "store.lock")
            self._socket = self._socket_path()
            self._end_orphan()
        except OSError as error:
            self._release()
            raise EmbeddedStoreError(
                f"the data directory {self.data} can't be used: {error.strerror or error}; name "
                "another with --data, or a store with redis.url",
                field="data",
            ) from error
        except EmbeddedStoreError:
            self._release()
            raise
        self._stopping.clear()
        self._started.clear()
        self._failure = None
        self._owner = os.getpid()
        self._keeper = threading.Thread(
            target=self._keep, args=(binary,), name="embedded-store", daemon=True
        )
        self._keeper.start()
        atexit.register(self.stop)
        self._started.wait()
        self._raise_failure()
        _write_atomically(self.data / URL_FILE, f"{self.url}\n")
        return self.url

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the server after it has flushed everything; kill it if that takes too long."""
        if self._keeper is None or self._owner != os.getpid():
            return
        atexit.unregister(self.stop)
        (self.data / URL_FILE).unlink(missing_ok=True)
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            self._keeper.join(timeout_s)
            if self._keeper.is_alive():
                _log.warning("the store didn't end within %g s and is killed", timeout_s)
                process.kill()
        self._keeper.join()
        self._keeper = None
        self._release()

    # --- the server's life, on the keeper's thread ---

    def _raise_failure(self) -> None:
        if self._failure is not None and self._keeper is not None:
            atexit.unregister(self.stop)
            self._keeper.join()
            self._keeper = None
            self._release()
            raise self._failure

    def _keep(self, binary: Path) -> None:
        """Run the server until the store is stopped.

        The thread lives as long as the server does: the kernel's signal on a parent's death goes
        out when the thread that started the child ends.
        """
        pause = 0.05
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                process = self._spawn(binary)
                self._wait_until_ready(process)
            except (EmbeddedStoreError, OSError) as error:
                self._end_process()
                if not self._started.is_set():
                    self._failure = _as_store_error(error)
                    self._started.set()
                    return
                _log.error("the store can't be restarted yet: %s", error)
            else:
                self._started.set()
                if self._stopping.is_set():
                    process.terminate()
                code = process.wait()
                if self._stopping.is_set():
                    return
                _log.error("the store ended by itself (exit status %s) and is restarted", code)
            pause = 0.05 if time.monotonic() - began > 30.0 else min(2 * pause, 5.0)
            self._stopping.wait(pause)

    def _spawn(self, binary: Path) -> "subprocess.Popen[bytes]":
        """Start the server; it holds the lock on `server.lock` for as long as it lives."""
        lock = open_private(self._directory / "server.lock")
        with lock, open_private(self._directory / "store.log") as output:
            if not _wait_for(lambda: try_lock(lock), self._start_timeout):
                raise EmbeddedStoreError(self._orphan_message())
            self._socket.unlink(missing_ok=True)
            process = subprocess.Popen(
                [*launcher(), *self._command(binary)],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
                # Ctrl+C reaches the whole terminal group; the service must stop first, then this.
                start_new_session=True,
            )
        self._process = process
        return process

    def _command(self, binary: Path) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._directory),
            "pidfile": str(self._directory / "server.pid"),
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [
            str(binary),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ]

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise EmbeddedStoreError(f"the store doesn't start: {self._last_words()}")
            if self._stopping.is_set():
                return
            state = ask_server(self._socket)
            if state == "ready":
                return
            if state == "loading":
                deadline = time.monotonic() + self._start_timeout
            time.sleep(0.005)
        raise EmbeddedStoreError(
            f"the store didn't answer within {self._start_timeout:g} s: see "
            f"{self._directory / 'store.log'}"
        )

    def _end_process(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()

    def _last_words(self) -> str:
        lines = (self._directory / "store.log").read_text(errors="replace").splitlines()
        return " / ".join(line.strip() for line in lines[-3:]) or "it said nothing"

    # --- the data directory ---

    def _socket_path(self) -> Path:
        """In the data directory, or in a private temporary one where the path would be too long."""
        self._remove_temporary()
        path = self._directory / _SOCKET
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
        return Path(tempfile.mkdtemp(prefix=_TEMPORARY)) / _SOCKET

    def _remove_temporary(self) -> None:
        """Remove the temporary directory that an earlier run left, as `store.url` names it."""
        with contextlib.suppress(OSError):
            url = (self.data / URL_FILE).read_text().strip()
            earlier = Path(unquote(url.removeprefix("unix://")))
            if earlier.parent.name.startswith(_TEMPORARY):
                shutil.rmtree(earlier.parent, ignore_errors=True)

    def _end_orphan(self) -> None:
        """End the server of a service that was killed; it flushes its file and exits."""
        with open_private(self._directory / "server.lock") as lock:
            if try_lock(lock):
                return
            pid = self._orphan_pid()
            if pid is not None:
                _log.warning("a store that an earlier service left behind (pid %d) is ended", pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                    os.kill(pid, signal.SIGCONT)
            if not _wait_for(lambda: try_lock(lock), self._start_timeout):
                raise EmbeddedStoreError(self._orphan_message())

    def _orphan_pid(self) -> int | None:
        try:
            return int((self._directory / "server.pid").read_text())
        except (OSError, ValueError):
            return None

    def _orphan_message(self) -> str:
        return (
            f"a store that an earlier service left behind (pid {self._orphan_pid()}) on "
            f"{self.data} doesn't end: end it, then start again"
        )

    def _release(self) -> None:
        """Give the directory back; what lies in it stays."""
        if self._socket.parent.name.startswith(_TEMPORARY):
            shutil.rmtree(self._socket.parent, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _write_atomically(path: Path, text: str) -> None:
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    staging.write_text(text, encoding="utf-8")
    staging.replace(path)


def _as_store_error(error: Exception) -> EmbeddedStoreError:
    if isinstance(error, EmbeddedStoreError):
        return error
    return EmbeddedStoreError(f"the store can't be started: {error}")
