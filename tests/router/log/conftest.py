"""Events, and the stores that every EventStore contract test runs against."""

from collections.abc import AsyncIterator

import pytest

from router.log.memory_store import MemoryEventStore
from router.log.redis_store import RedisEventStore
from router.log.store import EventStore
from tests.stores import KINDS, empty_shared


@pytest.fixture(params=["memory", *KINDS])
async def event_store(request: pytest.FixtureRequest) -> AsyncIterator[EventStore]:
    """The twin, then the adapter on each kind of real server."""
    if request.param == "memory":
        yield MemoryEventStore()
        return
    store = RedisEventStore.from_url(empty_shared(request, request.param))
    yield store
    await store.close()
