"""The store of events on Redis Streams (Redis 7 or Valkey).

Decisions and answers go to one stream, feedback to another. Beside them, one hash per decision maps
what makes each of its events unique to its stream entry: a script looks there before it adds
anything, so a batch may be sent again, and a decision's trace is found without a search. The hash
expires (`index_ttl_s`); until then retries are exact and the trace can be read.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from policies.events import Event, FeedbackGiven, decode_event, encode_event, event_key
from policies.store_keys import DEFAULT_PREFIX, EVENT_FIELD, StoreKeys
from router.log.errors import StoreUnavailableError
from router.log.store import Trace, assemble_trace

_DAY_S = 86_400

# KEYS: decision stream, feedback stream, then each event's trace hash.
# ARGV: entry field, the hashes' lifetime in seconds, then for each event: what makes it unique,
# its stream (1 or 2), its encoding. All of it happens or none: scripts are atomic, and so is what
# they leave in the append-only file.
_APPEND = """
local new = 0
for i = 3, #KEYS do
  local at = 3 * (i - 2)
  if redis.call('HEXISTS', KEYS[i], ARGV[at]) == 0 then
    local id = redis.call('XADD', KEYS[tonumber(ARGV[at + 1])], '*', ARGV[1], ARGV[at + 2])
    redis.call('HSET', KEYS[i], ARGV[at], id)
    redis.call('EXPIRE', KEYS[i], ARGV[2])
    new = new + 1
  end
end
return new
"""


class RedisEventStore:
    """Events in Redis; made for one event loop."""

    def __init__(
        self,
        client: Redis,
        *,
        prefix: str = DEFAULT_PREFIX,
        index_ttl_s: int = 7 * _DAY_S,
    ) -> None:
        """Store the client, which must not decode responses.

        Args:
            client: a connection pool whose calls time out.
            prefix: what every key begins with, as the hash tag that keeps them in one slot.
            index_ttl_s: how long after its last event a decision can be traced, and retries of its
                events are recognised.
        """
        # Its type hints answer for the synchronous twin too: one Any instead of many casts.
        self._client = cast("Any", client)
        self._keys = StoreKeys(prefix)
        self._ttl = index_ttl_s
        self._append_sha = ""

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        index_ttl_s: int = 7 * _DAY_S,
        timeout_s: float = 2.0,
        connections: int = 32,
    ) -> "RedisEventStore":
        """A store at `redis://`, `rediss://` or `unix://`, with a pool of its own; connects later.

        Raises ValueError for another kind of URL.
        """
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # One retry, at once, for a pooled connection that a restarted server has dropped; an
            # append that did arrive adds nothing the second time. Timeouts aren't retried here.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        return cls(Redis.from_pool(pool), prefix=prefix, index_ttl_s=index_ttl_s)

    async def append(self, events: Sequence[Event]) -> int:
        if not events:
            return 0
        keys: list[str] = [self._keys.decisions, self._keys.feedback]
        arguments: list[str | bytes | int] = [EVENT_FIELD, self._ttl]
        for event in events:
            decision_id, unique = event_key(event)
            keys.append(self._keys.trace(decision_id))
            arguments += (unique, 2 if isinstance(event, FeedbackGiven) else 1, encode_event(event))
        async with _errors_translated():
            return int(await self._run_append(len(keys), *keys, *arguments))

    async def _run_append(self, *arguments: str | bytes | int) -> Any:
        try:
            if self._append_sha:
                return await self._client.evalsha(self._append_sha, *arguments)
        except NoScriptError:
            pass  # the server was restarted, or another took its place
        self._append_sha = await self._client.script_load(_APPEND)
        return await self._client.evalsha(self._append_sha, *arguments)

    async def trace(self, decision_id: str) -> Trace | None:
        async with _errors_translated():
            index: dict[bytes, bytes] = await self._client.hgetall(self._keys.trace(decision_id))
            if not index:
                return None
            async with self._client.pipeline(transaction=False) as pipeline:
                for unique, entry in sorted(index.items(), key=index_position):
                    about_feedback = unique.startswith(b"feedback:")
                    stream = self._keys.feedback if about_feedback else self._keys.decisions
                    pipeline.xrange(stream, entry, entry)
                found = await pipeline.execute()
        decoded = [
            decode_event(fields[EVENT_FIELD.encode()]) for entries in found for _, fields in entries
        ]
        return assemble_trace(decision_id, [event for event in decoded if event is not None])

    async def remember(self, key: str, fingerprint: str, ttl_s: float) -> str | None:
        async with _errors_translated():
            earlier: bytes | None = await self._client.set(
                self._keys.remembered(key),
                fingerprint,
                nx=True,
                get=True,
                px=max(1, int(ttl_s * 1000)),
            )
        return None if earlier is None else earlier.decode()

    async def ping(self) -> None:
        async with _errors_translated():
            await self._client.ping()

    async def close(self) -> None:
        await self._client.aclose()
        await self._client.connection_pool.disconnect()


def index_position(indexed: tuple[bytes, bytes]) -> tuple[int, int]:
    """An index entry's place in its stream: `ms-sequence` as numbers."""
    milliseconds, _, sequence = indexed[1].partition(b"-")
    return int(milliseconds), int(sequence)


@asynccontextmanager
async def _errors_translated() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise StoreUnavailableError(f"the store can't be used at the moment: {reason}") from error
