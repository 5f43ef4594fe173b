"""The contract of every EventReader: it reads what its EventStore has stored."""

from collections.abc import AsyncIterator

import pytest
import redis

from router.log.event_reader import EventReader
from router.log.memory_reader import MemoryEventReader
from router.log.memory_store import MemoryEventStore
from router.log.redis_reader import RedisEventReader
from router.log.redis_store import RedisEventStore
from router.log.store import EventStore
from router.redis_clients import open_client
from tests.clusters import STORE_KINDS, empty_address
from tests.event_factory import answer, decision, feedback

Pair = tuple[EventStore, EventReader]


@pytest.fixture(params=["memory", *STORE_KINDS])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """A store and its reader: the twins, then the adapters on each kind of real store."""
    if request.param == "memory":
        memory = MemoryEventStore()
        yield memory, MemoryEventReader(memory)
        return
    address = empty_address(request, request.param)
    store, client = RedisEventStore.from_url(address), open_client(address, timeout_s=2.0)
    yield store, RedisEventReader(client)
    client.close()
    await store.close()


async def test_each_stream_is_read_in_order_and_goes_on_where_it_was_left(pair: Pair) -> None:
    """Decisions with their answers in one, feedback in the other."""
    store, reader = pair
    assert reader.read("decisions", reader.start(0.0), 10) == []
    await store.append([decision(1), feedback(1), answer(1), decision(2), feedback(2)])
    first = reader.read("decisions", reader.start(0.0), 2)
    assert [entry.event for entry in first] == [decision(1), answer(1)]
    rest = reader.read("decisions", first[-1].position, 10)
    assert [entry.event for entry in rest] == [decision(2)]
    assert reader.read("decisions", rest[-1].position, 10) == []
    given = reader.read("feedback", reader.start(0.0), 10)
    assert [entry.event for entry in given] == [feedback(1), feedback(2)]
    await store.append([feedback(1, key="b")])
    later = reader.read("feedback", given[-1].position, 10)
    assert [entry.event for entry in later] == [feedback(1, key="b")]


async def test_a_trace_is_that_of_the_store(pair: Pair) -> None:
    store, reader = pair
    await store.append([decision(1), feedback(1, key="a"), answer(1), feedback(1, key="b")])
    assert reader.trace(decision(1).decision_id) == await store.trace(decision(1).decision_id)
    assert reader.trace("decision-000404") is None


def next_millisecond(client: redis.Redis) -> None:
    """Wait until the store's clock has ticked."""
    began = milliseconds(client)
    while milliseconds(client) == began:
        pass


def milliseconds(client: redis.Redis) -> int:
    seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


async def test_a_start_leaves_earlier_entries_out(valkey_url: str) -> None:
    """By the store's own clock."""
    store = RedisEventStore.from_url(valkey_url)
    with redis.Redis.from_url(valkey_url) as client:
        await store.append([decision(1)])
        next_millisecond(client)  # stream ids count them
        seconds, microseconds = client.time()
        next_millisecond(client)
        await store.append([decision(2)])
        reader = RedisEventReader(client)
        found = reader.read("decisions", reader.start(seconds + microseconds / 1e6), 10)
    await store.close()
    assert [entry.event for entry in found] == [decision(2)]


async def test_an_entry_that_cannot_be_read_keeps_its_place(valkey_url: str) -> None:
    """It is no event, and the next is read all the same."""
    with redis.Redis.from_url(valkey_url) as client:
        client.xadd("{rag}:feedback", {"e": b"garbage"})
        reader = RedisEventReader(client)
        [entry] = reader.read("feedback", reader.start(0.0), 10)
    assert entry.event is None
