"""The store of events on Redis Streams (Redis 7 or Valkey): one server, or a cluster's shards.

Decisions and answers go to one stream, feedback to another. Beside them, one hash per decision maps
what makes each of its events unique to its stream entry: a script looks there before it adds
anything, so a batch may be sent again, and a decision's trace is found without a search. The hash
expires (`index_ttl_s`); until then retries are exact and the trace can be read. All of that lies in
one slot of a Redis Cluster, or in several: one a shard, chosen by the decision.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisClusterException, RedisError

from policies.events import Event
from policies.shards import Shards
from policies.store_keys import DEFAULT_PREFIX, ShardKeys, StoreKeys
from policies.store_url import StoreAddress, parse_store_url
from router.log.errors import StoreUnavailableError
from router.log.redis_scripts import Argument, append_command, trace_command, traced_events
from router.log.redis_state import read_state
from router.log.shard_notes import load_shards
from router.log.store import Trace, assemble_trace
from router.log.store_state import StoreState
from router.redis_clients import AsyncClient, open_async_client

_Answer = TypeVar("_Answer")

_DAY_S = 86_400
# Replicas acknowledge within this share of the time for one call, or the call has failed.
_SHARE_OF_WAITING = 0.25
_WRITABLE_S = 60
# Well within the delay after which a note of more shards counts (policies.shards).
_SHARDS_KNOWN_S = 10.0


class RedisEventStore:
    """Events in Redis; made for one event loop."""

    def __init__(
        self,
        client: AsyncClient,
        *,
        prefix: str = DEFAULT_PREFIX,
        index_ttl_s: int = 7 * _DAY_S,
        timeout_s: float = 2.0,
        connections: int = 32,
        shards: int = 1,
        wait_replicas: int = 0,
        shards_known_s: float = _SHARDS_KNOWN_S,
    ) -> None:
        """Store the client, which must not decode responses.

        Args:
            client: what to send commands with.
            prefix: what every key begins with, as a hash tag.
            index_ttl_s: how long after its last event a decision can be traced, and retries of its
                events are recognised.
            timeout_s: how long a call may wait for others to be done.
            connections: calls under way at a time.
            shards: how many the log has at least; where the store has more, those count.
            wait_replicas: how many replicas must have a write before it is acknowledged.
            shards_known_s: how long to append by the note of the shards that was read last.
        """
        self._client = client
        self._keys = StoreKeys(prefix)
        self._ttl = index_ttl_s
        self._timeout = timeout_s
        self._free = asyncio.Semaphore(connections)
        self._wanted_shards = shards
        self._wait_replicas = wait_replicas
        self._shards_known = shards_known_s
        self._shards: Shards | None = None
        self._shards_read_at = 0.0

    @classmethod
    def from_url(
        cls,
        url: str | StoreAddress,
        *,
        prefix: str = DEFAULT_PREFIX,
        index_ttl_s: int = 7 * _DAY_S,
        timeout_s: float = 2.0,
        connections: int = 32,
        shards: int = 1,
        wait_replicas: int = 0,
    ) -> "RedisEventStore":
        """A store at a URL of `policies.store_url`, with connections of its own; connects later.

        Raises ValueError for another kind of URL.
        """
        address = parse_store_url(url) if isinstance(url, str) else url
        return cls(
            open_async_client(address, timeout_s=timeout_s, connections=connections),
            prefix=prefix,
            index_ttl_s=index_ttl_s,
            timeout_s=timeout_s,
            connections=connections,
            shards=shards,
            wait_replicas=wait_replicas,
        )

    async def append(self, events: Sequence[Event]) -> int:
        if not events:
            return 0
        async with _errors_translated():
            shards = await self._current_shards()
            if len(shards.all) == 1:
                return await self._append(shards.all[0], events)
            return await self._append_to_each(shards, events)

    async def _append_to_each(self, shards: Shards, events: Sequence[Event]) -> int:
        """To all shards at once; where one fails, all are sent again, and what is there stays."""
        parts: defaultdict[ShardKeys, list[Event]] = defaultdict(list)
        for event in events:
            parts[shards.of(event.decision_id)].append(event)
        return sum(await _all(self._append(shard, part) for shard, part in parts.items()))

    async def _append(self, shard: ShardKeys, events: Sequence[Event]) -> int:
        return int(await self._write(shard, append_command(shard, events, self._ttl)))

    async def trace(self, decision_id: str) -> Trace | None:
        async with _errors_translated():
            shard = (await self._known_shards()).of(decision_id)
            found = await self._send(trace_command(shard, decision_id))
        return assemble_trace(decision_id, traced_events(found))

    async def remember(self, key: str, fingerprint: str, ttl_s: float) -> str | None:
        async with _errors_translated():
            shard = (await self._known_shards()).always(key)
            milliseconds = max(1, int(ttl_s * 1000))
            command: list[Argument] = [
                "SET",
                shard.remembered(key),
                fingerprint,
                "NX",
                "GET",
                "PX",
                milliseconds,
            ]
            earlier: bytes | None = await self._send(command, get=True)
        return None if earlier is None else earlier.decode()

    async def ping(self) -> None:
        async with _errors_translated():
            shards = await self._read_shards()
            await _all(
                self._write(shard, ["SET", shard.writable, "1", "EX", _WRITABLE_S])
                for shard in shards.all
            )

    async def state(self) -> StoreState:
        async with _errors_translated():
            shards = await self._known_shards()
            cluster = self._client.is_cluster
            return await read_state(self._send, self._keys, shards, cluster=cluster)

    async def close(self) -> None:
        await self._client.close()

    async def _known_shards(self) -> Shards:
        return self._shards or await self._read_shards()

    async def _current_shards(self) -> Shards:
        """As read a moment ago at most: nobody pings while a long spool is replayed."""
        due = self._shards_read_at + self._shards_known
        return await (self._read_shards() if time.monotonic() >= due else self._known_shards())

    async def _read_shards(self) -> Shards:
        read_at = time.monotonic()
        self._shards = await load_shards(self._send, self._keys, self._wanted_shards)
        self._shards_read_at = read_at
        return self._shards

    async def _send(self, command: Sequence[Argument], **options: Any) -> Any:
        async with self._a_connection():
            return await self._client.client.execute_command(*command, **options)

    async def _write(self, shard: ShardKeys, command: Sequence[Argument]) -> Any:
        """Send what writes to a shard; return its answer once enough replicas have it."""
        if not self._wait_replicas:
            return await self._send(command)
        async with self._a_connection():
            try:
                answer, reached = await self._write_and_wait(shard, command)
            except MovedError:
                # Asking for a key makes the client look for its node; a second move is an error.
                await self._client.client.exists(shard.writable)
                answer, reached = await self._write_and_wait(shard, command)
        if reached < self._wait_replicas:
            raise StoreUnavailableError(
                f"a write reached {reached} of the {self._wait_replicas} replicas that "
                "redis.wait_replicas wants"
            )
        return answer

    async def _write_and_wait(
        self, shard: ShardKeys, command: Sequence[Argument]
    ) -> tuple[Any, int]:
        # WAIT speaks of what its own connection has written, so both go over one.
        client, options = self._client.client, {}
        if self._client.is_cluster:
            await client.initialize()
            options["target_nodes"] = client.get_node_from_key(shard.writable)
        milliseconds = int(self._timeout * _SHARE_OF_WAITING * 1000)
        pipeline = client.pipeline(transaction=False)
        pipeline.execute_command(*command)
        pipeline.execute_command("WAIT", self._wait_replicas, milliseconds, **options)
        if self._client.is_cluster:
            # A redirected write would leave WAIT behind.
            answer, reached = await pipeline.execute(allow_redirections=False)
        else:
            answer, reached = await pipeline.execute()
        return answer, int(reached)

    @asynccontextmanager
    async def _a_connection(self) -> AsyncIterator[None]:
        async with asyncio.timeout(self._timeout):
            await self._free.acquire()
        try:
            yield
        except AttributeError as error:
            if not self._client.is_cluster:
                raise
            # redis-py closes all of a cluster's connections, those in use too, before it sends a
            # pipeline again; other calls then fail on the stream that is gone.
            raise RedisConnectionError("the connection was closed by another call") from error
        finally:
            self._free.release()


async def _all(calls: Iterable[Awaitable[_Answer]]) -> list[_Answer]:
    """The answers of calls made at once; where some fail, the first error, once all are done."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return cast("list[_Answer]", answers)


@asynccontextmanager
async def _errors_translated() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise StoreUnavailableError(f"the store can't be used at the moment: {reason}") from error
