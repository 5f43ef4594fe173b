"""Clients of the store: of one server, of a Redis Cluster, of the primary that Sentinels name.

All of them give up in time and none retries for long: while a node is away, the log goes to the
spool and policies stay as they are, so waiting here would only hold up others.
"""

import threading
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import redis
from redis import asyncio as async_redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException
from redis.retry import Retry
from redis.sentinel import Sentinel

from policies.store_url import StoreAddress

# A node that hangs must be found out, and its successor looked up, within the time for one call.
_SHARE_OF_A_NODE = 0.4
_SENTINEL_TIMEOUT_S = 0.5


class AsyncClient(NamedTuple):
    """A client for one event loop; `close` lets go of all its connections."""

    client: Any
    is_cluster: bool
    close: Callable[[], Awaitable[None]]


def open_async_client(address: StoreAddress, *, timeout_s: float, connections: int) -> AsyncClient:
    """A client that connects at its first call and doesn't decode responses.

    Each call is tried once more where its connection turns out to be gone, so only what may be sent
    twice may be sent. No more than `connections` calls may be under way at a time.

    Args:
        address: what to connect to.
        timeout_s: for one call.
        connections: to one server, at most.
    """
    if address.kind == "cluster":
        return _async_cluster(address, timeout_s * _SHARE_OF_A_NODE, connections)
    if address.kind == "sentinel":
        return _async_primary(address, timeout_s * _SHARE_OF_A_NODE, connections)
    client = async_redis.Redis.from_url(
        address.url,
        max_connections=connections,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=_retry_at_once(),
    )
    return AsyncClient(client, False, lambda: _disconnect(client))


class _Cluster(async_redis.RedisCluster):
    """Knows the nodes before it looks for a key's.

    redis-py sends a call that begins before they are known to any node, which redirects it.
    """

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        await self.initialize()
        return await super().execute_command(*args, **options)


def _async_cluster(address: StoreAddress, timeout_s: float, connections: int) -> AsyncClient:
    client = _Cluster(
        startup_nodes=[async_redis.cluster.ClusterNode(host, port) for host, port in address.nodes],
        # Shards on other nodes go on while a part of the cluster is down.
        require_full_coverage=False,
        # Slots that have moved are noted one by one: looking for all nodes anew would close the
        # connections that other calls use.
        reinitialize_steps=0,
        # Topology is asked for beside the calls.
        max_connections=connections + 8,
        retry=AsyncRetry(NoBackoff(), 1),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        **_credentials(address),
    )
    return AsyncClient(client, True, client.aclose)


def _async_primary(address: StoreAddress, timeout_s: float, connections: int) -> AsyncClient:
    sentinel: Any = AsyncSentinel(  # type: ignore[no-untyped-call]
        address.nodes,
        sentinel_kwargs={**_sentinel_options(address), "retry": AsyncRetry(NoBackoff(), 0)},
    )
    client = sentinel.master_for(
        address.service,
        db=address.database,
        max_connections=connections,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=_retry_at_once(),
        **_credentials(address),
    )

    async def close() -> None:
        await _disconnect(client)
        for one in sentinel.sentinels:
            await one.aclose()

    return AsyncClient(client, False, close)


def _retry_at_once() -> AsyncRetry:
    # For a pooled connection that a restarted server has dropped. Timeouts aren't retried here.
    return AsyncRetry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))


async def _disconnect(client: Any) -> None:
    await client.aclose()
    await client.connection_pool.disconnect()


def open_client(address: StoreAddress, *, timeout_s: float) -> Any:
    """A client for threads: `execute_command` and `close`.

    It connects at its first call, doesn't decode responses and sends nothing twice, since not all
    that a registry is asked may be done twice. Its errors are redis.RedisError.
    """
    if address.kind == "cluster":
        return ClusterClient(address, timeout_s)
    if address.kind == "sentinel":
        return _primary(address, timeout_s)
    return redis.Redis.from_url(
        address.url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )


def _primary(address: StoreAddress, timeout_s: float) -> Any:
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
        address.nodes,
        sentinel_kwargs={**_sentinel_options(address), "retry": Retry(NoBackoff(), 0)},
    )
    return sentinel.master_for(
        address.service,
        db=address.database,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        **_credentials(address),
    )


class ClusterClient:
    """A redis.RedisCluster that may be made while the cluster is away."""

    def __init__(self, address: StoreAddress, timeout_s: float) -> None:
        """Store what to connect to."""
        self._address, self._timeout = address, timeout_s
        self._client: Any = None
        self._connecting = threading.Lock()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the node that has its keys."""
        try:
            return self._connected().execute_command(*args, **options)
        except RedisClusterException as error:  # it is no RedisError
            raise RedisConnectionError(str(error)) from error

    def close(self) -> None:
        """Let go of all connections."""
        if self._client is not None:
            self._client.close()

    def _connected(self) -> Any:
        with self._connecting:
            if self._client is None:
                self._client = _connect_to_cluster(self._address, self._timeout)
            return self._client


def _connect_to_cluster(address: StoreAddress, timeout_s: float) -> Any:
    """A redis.RedisCluster, which connects at once.

    Raises RedisClusterException where no node answers.
    """
    nodes = [ClusterNode(host, port) for host, port in address.nodes]  # type: ignore[no-untyped-call]
    return redis.RedisCluster(
        startup_nodes=nodes,
        require_full_coverage=False,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        **_credentials(address),
    )


def _credentials(address: StoreAddress) -> dict[str, Any]:
    credentials: dict[str, Any] = {"username": address.username, "password": address.password}
    return {**credentials, "ssl": True} if address.tls else credentials


def _sentinel_options(address: StoreAddress) -> dict[str, Any]:
    return {
        "socket_timeout": _SENTINEL_TIMEOUT_S,
        "socket_connect_timeout": _SENTINEL_TIMEOUT_S,
        "password": address.sentinel_password,
        **({"ssl": True} if address.tls else {}),
    }
