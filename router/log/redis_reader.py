"""Reads the store on Redis Streams, over a client of its own for threads."""

from typing import Any, cast

import redis

from policies.errors import EventError
from policies.events import Event, decode_event
from policies.store_keys import DEFAULT_PREFIX, EVENT_FIELD, StoreKeys
from router.log.event_reader import Entry, StreamName
from router.log.redis_store import index_position
from router.log.store import Trace, assemble_trace


class RedisEventReader:
    """What RedisEventStore has written; positions are stream ids."""

    def __init__(self, client: redis.Redis, *, prefix: str = DEFAULT_PREFIX) -> None:
        """Store a client that doesn't decode responses, and what every key begins with."""
        # The client's type hints answer for its asynchronous twin too.
        self._client = cast("Any", client)
        self._keys = StoreKeys(prefix)

    def start(self, at: float) -> str:
        return f"{max(0, int(at * 1000))}-0"

    def read(self, stream: StreamName, after: str, limit: int) -> list[Entry]:
        found = self._client.xrange(self._key(stream), min=f"({after}", max="+", count=limit)
        return [Entry(entry.decode(), _event(fields)) for entry, fields in found]

    def trace(self, decision_id: str) -> Trace | None:
        index: dict[bytes, bytes] = self._client.hgetall(self._keys.trace(decision_id))
        with self._client.pipeline(transaction=False) as pipeline:
            for unique, entry in sorted(index.items(), key=index_position):
                feedback = unique.startswith(b"feedback:")
                pipeline.xrange(self._key("feedback" if feedback else "decisions"), entry, entry)
            found = pipeline.execute()
        events = [_event(fields) for entries in found for _, fields in entries]
        return assemble_trace(decision_id, [event for event in events if event is not None])

    def _key(self, stream: StreamName) -> str:
        return self._keys.decisions if stream == "decisions" else self._keys.feedback


def _event(fields: dict[bytes, bytes]) -> Event | None:
    try:
        return decode_event(fields.get(EVENT_FIELD.encode(), b""))
    except EventError:
        return None
