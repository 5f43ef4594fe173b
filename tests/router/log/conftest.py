"""Events, and the stores that every EventStore contract test runs against."""

from collections.abc import AsyncIterator

import pytest

from router.log.memory_store import MemoryEventStore
from router.log.redis_store import RedisEventStore
from router.log.store import EventStore
from tests.clusters import STORE_KINDS, empty_address


@pytest.fixture(params=["memory", *STORE_KINDS, "cluster in shards", "redis in shards"])
async def event_store(request: pytest.FixtureRequest) -> AsyncIterator[EventStore]:
    """The twin, then the adapter on each kind of real store, with its log in one place or three."""
    if request.param == "memory":
        yield MemoryEventStore()
        return
    kind, _, shards = request.param.partition(" ")
    store = RedisEventStore.from_url(
        empty_address(request, kind),
        shards=3 if shards else 1,
        wait_replicas=1 if kind in ("cluster", "sentinel") else 0,
    )
    yield store
    await store.close()
