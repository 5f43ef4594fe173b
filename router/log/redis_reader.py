"""Reads the store on Redis Streams, over a client of its own for threads."""

import time

from policies.registries.redis_registry import RedisClient
from policies.shards import Shards
from policies.store_keys import DEFAULT_PREFIX, EVENT_FIELD, ShardKeys, StoreKeys
from router.log.event_reader import Entry, StreamName
from router.log.redis_scripts import readable_event, trace_command, traced_events
from router.log.store import Trace, assemble_trace

# A position is a stream id for each shard, in their order.
_SEPARATOR, _BEGINNING = ",", "0-0"
# New shards are noted long before they count.
_LOOK_FOR_SHARDS_EVERY_S = 10.0


class RedisEventReader:
    """What RedisEventStore has written; positions are stream ids, one a shard."""

    def __init__(self, client: RedisClient, *, prefix: str = DEFAULT_PREFIX) -> None:
        """Store a client, and what every key begins with."""
        self._client = client
        self._keys = StoreKeys(prefix)
        self._shards: Shards | None = None
        self._looked_at = 0.0

    def start(self, at: float) -> str:
        return _SEPARATOR.join([f"{max(0, int(at * 1000))}-0"] * len(self._known_shards().all))

    def read(self, stream: StreamName, after: str, limit: int) -> list[Entry]:
        shards = self._known_shards().all
        # A shard that was added later has nothing from before.
        positions = after.split(_SEPARATOR)
        positions += [_BEGINNING] * (len(shards) - len(positions))
        found = [
            (entry, number, fields)
            for number, shard in enumerate(shards)
            for entry, fields in self._range(shard, stream, positions[number], limit)
        ]
        found.sort(key=lambda one: _numbers(one[0]))
        entries = []
        for entry, number, fields in found[:limit]:
            positions[number] = entry.decode()
            event = readable_event(fields.get(EVENT_FIELD.encode(), b""))
            entries.append(Entry(_SEPARATOR.join(positions), event))
        return entries

    def trace(self, decision_id: str) -> Trace | None:
        shard = self._known_shards().of(decision_id)
        found = self._client.execute_command(*trace_command(shard, decision_id))
        return assemble_trace(decision_id, traced_events(found))

    def _range(
        self, shard: ShardKeys, stream: StreamName, after: str, limit: int
    ) -> list[tuple[bytes, dict[bytes, bytes]]]:
        key = shard.decisions if stream == "decisions" else shard.feedback
        found: list[tuple[bytes, dict[bytes, bytes]]] = self._client.execute_command(
            "XRANGE", key, f"({after}", "+", "COUNT", limit
        )
        return found

    def _known_shards(self) -> Shards:
        now = time.monotonic()
        if self._shards is None or now - self._looked_at > _LOOK_FOR_SHARDS_EVERY_S:
            noted = self._client.execute_command("GET", self._keys.shards)
            self._shards, self._looked_at = Shards.noted(noted, self._keys), now
        return self._shards


def _numbers(entry: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = entry.partition(b"-")
    return int(milliseconds), int(sequence)
