"""A real Redis Cluster and a real primary with Sentinels, in processes of their own.

A pytest plugin beside `tests.stores`. Every server listens on free ports of the loopback interface
with its data in a temporary directory, and is ended by its own process id.
"""

import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from policies.store_url import StoreAddress, parse_store_url
from tests.stores import KINDS, binary_of, empty_shared, wait_until

# Whatever a store may be; "redis" and "valkey" are single servers.
STORE_KINDS = (*KINDS, "cluster", "sentinel")
SERVICE = "main"
PASSWORD, SENTINEL_PASSWORD = "store-secret", "sentinel-secret"
# How long a server is silent before its successor is chosen: soon where a test waits for that, and
# hardly ever in the servers that tests share, however busy the machine is.
_SOON_MS, _LATE_MS = 1_500, 30_000
_SERVER = {
    "bind": "127.0.0.1",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "repl-diskless-sync-delay": "0",
}


def free_port() -> int:
    """A port of the loopback interface that nobody has at the moment.

    Below those that connections are given, so that none takes it before the server starts.
    """
    while True:
        port = random.randint(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def server_binary() -> str:
    """Redis where it is installed, as in CI; else the embedded package's Valkey."""
    return shutil.which("redis-server") or binary_of("valkey")


class Node:
    """One server process of several, with its own configuration file."""

    def __init__(self, directory: Path, options: dict[str, str], *, sentinel: bool = False) -> None:
        self.port = free_port()
        self.password = options.get("requirepass")
        self._directory = directory / str(self.port)
        self._directory.mkdir()
        self._arguments = ["--sentinel"] if sentinel else []
        settings = {"port": str(self.port), "dir": str(self._directory), **options}
        self._file = self._directory / "node.conf"
        lines = [f"{name} {value}" if value else f'{name} ""' for name, value in settings.items()]
        self._file.write_text("\n".join(lines))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again on the same data."""
        with (self._directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [server_binary(), str(self._file), *self._arguments], stdout=log, stderr=log
            )
        wait_until(self.is_up)

    def is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self._directory / "log").read_text()
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False

    def ask(self, *command: Any) -> Any:
        """What it answers to a command."""
        with redis.Redis(port=self.port, password=self.password, socket_timeout=5.0) as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


class RunningCluster:
    """Three primaries with equal ranges of slots, and a replica of each."""

    def __init__(self, silence_ms: int = _SOON_MS) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="cluster-"))
        self.nodes = [Node(self.directory, self._options(silence_ms)) for _ in range(6)]

    @staticmethod
    def _options(silence_ms: int) -> dict[str, str]:
        return {
            **_SERVER,
            "cluster-enabled": "yes",
            "cluster-port": str(free_port()),
            "cluster-node-timeout": str(silence_ms),
        }

    @property
    def url(self) -> str:
        """Two of the nodes: the others are found."""
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port},127.0.0.1:{self.nodes[4].port}"

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        primaries, replicas = self.nodes[:3], self.nodes[3:]
        bounds = [0, 5461, 10923, 16384]
        for number, primary in enumerate(primaries):
            primary.ask("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            primary.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            bus = node.ask("CONFIG", "GET", "cluster-port")
            bus_port = dict(bus)[b"cluster-port"] if isinstance(bus, dict) else bus[1]
            self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, int(bus_port))
        wait_until(lambda: all(self._knows(node, 6) for node in self.nodes))
        for primary, replica in zip(primaries, replicas, strict=True):
            replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID"))
        wait_until(self.is_whole)

    @staticmethod
    def _knows(node: Node, count: int) -> bool:
        return f"cluster_known_nodes:{count}" in _text(node.ask("CLUSTER", "INFO"))

    def is_whole(self) -> bool:
        """Whether all six are up, agree on it, and each primary has its replica in step."""
        roles = [_info(node) for node in self.nodes]
        in_step = [role.get("master_link_status") == "up" for role in roles]
        served = [role.get("connected_slaves") == 1 for role in roles]
        agree = all(
            "cluster_state:ok" in _text(node.ask("CLUSTER", "INFO"))
            and "fail" not in _text(node.ask("CLUSTER", "NODES"))
            for node in self.nodes
        )
        return agree and sum(in_step) == 3 and sum(served) == 3

    def primary_of(self, key: str) -> Node:
        """The node that has a key at the moment."""
        with redis.RedisCluster(port=self.nodes[1].port, host="127.0.0.1") as client:  # type: ignore[abstract]
            node = client.get_node_from_key(key)
            assert node is not None
            return next(one for one in self.nodes if one.port == node.port)

    def flush(self) -> None:
        """Empty it."""
        for node in self.nodes:
            if _info(node)["role"] == "master":
                node.ask("FLUSHALL")

    def remove(self) -> None:
        """End it for good."""
        for node in self.nodes:
            node.end()
        shutil.rmtree(self.directory, ignore_errors=True)


class WatchedPrimary:
    """A primary and two replicas, watched by three Sentinels; both kinds have passwords."""

    def __init__(self, silence_ms: int = _SOON_MS) -> None:
        self._silence_ms = silence_ms
        self.directory = Path(tempfile.mkdtemp(prefix="sentinel-"))
        options = {**_SERVER, "requirepass": PASSWORD, "masterauth": PASSWORD}
        self.nodes = [Node(self.directory, options) for _ in range(3)]
        self.sentinels = [self._sentinel(self.nodes[0].port) for _ in range(3)]

    def _sentinel(self, port: int) -> Node:
        watch = {
            "bind": "127.0.0.1",
            "requirepass": SENTINEL_PASSWORD,
            f"sentinel monitor {SERVICE} 127.0.0.1 {port}": "2",
            f"sentinel auth-pass {SERVICE}": PASSWORD,
            f"sentinel down-after-milliseconds {SERVICE}": str(self._silence_ms),
            f"sentinel failover-timeout {SERVICE}": "5000",
            "sentinel sentinel-pass": SENTINEL_PASSWORD,
        }
        return Node(self.directory, watch, sentinel=True)

    @property
    def url(self) -> str:
        """Without passwords."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    @property
    def address(self) -> StoreAddress:
        """With passwords."""
        return parse_store_url(self.url, password=PASSWORD, sentinel_password=SENTINEL_PASSWORD)

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        for replica in self.nodes[1:]:
            replica.ask("REPLICAOF", "127.0.0.1", self.nodes[0].port)
        wait_until(lambda: _info(self.nodes[0]).get("connected_slaves") == 2)
        for sentinel in self.sentinels:
            sentinel.start()
        wait_until(self.is_whole)

    def is_whole(self) -> bool:
        """Whether the replicas are in step, and every Sentinel knows of all."""
        in_step = [_info(node).get("master_link_status") == "up" for node in self.nodes]
        known = [self._state(sentinel) for sentinel in self.sentinels]
        return sum(in_step) == 2 and all(
            state.get("num-slaves") == "2"
            and state.get("num-other-sentinels") == "2"
            and state.get("flags") == "master"
            for state in known
        )

    @staticmethod
    def _state(sentinel: Node) -> dict[str, str]:
        told = sentinel.ask("SENTINEL", "MASTER", SERVICE)
        pairs = told.items() if isinstance(told, dict) else zip(told[::2], told[1::2], strict=True)
        return {_text(key): _text(value) for key, value in pairs}

    def primary(self) -> Node:
        """The node that the first Sentinel takes for the primary."""
        port = int(self._state(self.sentinels[0])["port"])
        return next(node for node in self.nodes if node.port == port)

    def flush(self) -> None:
        """Empty it."""
        self.primary().ask("FLUSHALL")

    def remove(self) -> None:
        """End it for good."""
        for node in [*self.sentinels, *self.nodes]:
            node.end()
        shutil.rmtree(self.directory, ignore_errors=True)


def _text(answer: Any) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)


def _info(node: Node) -> dict[str, Any]:
    info: dict[str, Any] = node.ask("INFO", "replication")
    return info


def empty_address(request: pytest.FixtureRequest, kind: str) -> StoreAddress:
    """Where the session's store of a kind is, emptied; for parametrized fixtures."""
    if kind == "cluster":
        cluster: RunningCluster = request.getfixturevalue("shared_cluster")
        cluster.flush()
        return parse_store_url(cluster.url)
    if kind == "sentinel":
        watched: WatchedPrimary = request.getfixturevalue("shared_primary")
        watched.flush()
        return watched.address
    return parse_store_url(empty_shared(request, "redis" if kind == "redis" else "valkey"))


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[RunningCluster]:
    """One for all tests that leave its nodes alone; empty it first."""
    cluster = RunningCluster(_LATE_MS)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(scope="session")
def shared_primary() -> Iterator[WatchedPrimary]:
    """One for all tests that leave its nodes alone; empty it first."""
    watched = WatchedPrimary(_LATE_MS)
    try:
        watched.start()
        yield watched
    finally:
        watched.remove()


@pytest.fixture
def redis_cluster() -> Iterator[RunningCluster]:
    """A fresh cluster, for tests that kill nodes."""
    cluster = RunningCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def watched_primary() -> Iterator[WatchedPrimary]:
    """A fresh primary with Sentinels, for tests that kill nodes."""
    watched = WatchedPrimary()
    try:
        watched.start()
        yield watched
    finally:
        watched.remove()
