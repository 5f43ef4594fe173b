"""A log over several shards: noted in the store, grown, and read whole."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import redis
from uuid_utils import uuid7

from policies.events import Event
from policies.shards import GROWTH_DELAY_MS, Shards
from policies.store_keys import StoreKeys
from policies.store_url import parse_store_url
from router.log.redis_reader import RedisEventReader
from router.log.redis_store import RedisEventStore
from router.redis_clients import open_async_client
from tests.event_factory import answer, decision, feedback

KEYS = StoreKeys("rag")


@asynccontextmanager
async def opened(url: str, shards: int) -> AsyncIterator[RedisEventStore]:
    """A store that reads the note of the shards before it appends."""
    client = open_async_client(parse_store_url(url), timeout_s=2.0, connections=32)
    store = RedisEventStore(client, shards=shards, shards_known_s=0.0)
    try:
        yield store
    finally:
        await store.close()


def noted(client: redis.Redis) -> Shards:
    return Shards.noted(client.get(KEYS.shards), KEYS)  # type: ignore[arg-type]


async def test_all_of_a_decision_lies_in_one_shard(valkey_url: str) -> None:
    """Decisions over all of them, by their ids."""
    events: list[Event] = [kind(n) for n in range(60) for kind in (decision, answer, feedback)]
    async with opened(valkey_url, 3) as store:
        assert await store.append(events) == 180
    with redis.Redis.from_url(valkey_url) as client:
        shards = noted(client)
        held = [client.xlen(shard.decisions) for shard in shards.all]
        assert sum(held) == 120
        assert min(held) > 0
        for number in range(60):
            trace = shards.of(decision(number).decision_id).trace(decision(number).decision_id)
            assert client.hlen(trace) == 3


async def test_readers_see_every_shard_and_go_on_where_they_were(valkey_url: str) -> None:
    """Each event once, whatever the chunks, and a decision's answer after it."""
    numbers = range(50)
    async with opened(valkey_url, 4) as store:
        await store.append([kind(n) for n in numbers for kind in (decision, answer)])
        with redis.Redis.from_url(valkey_url) as client:
            reader = RedisEventReader(client)
            position, seen = reader.start(0.0), []
            while entries := reader.read("decisions", position, 7):
                assert len(entries) <= 7
                position = entries[-1].position
                seen += [entry.event for entry in entries]
            assert len(seen) == 100
            for number in numbers:
                assert seen.index(decision(number)) < seen.index(answer(number))
            await store.append([decision(99)])
            later = reader.read("decisions", position, 7)
            assert [entry.event for entry in later] == [decision(99)]
            trace = reader.trace(decision(3).decision_id)
            assert trace is not None
            assert (trace.decision, trace.answer) == (decision(3), answer(3))


async def test_a_log_in_use_gets_more_shards_after_a_while(valkey_url: str) -> None:
    """By then every replica knows; what is there stays where it is found."""
    async with opened(valkey_url, 1) as store:
        await store.append([decision(number) for number in range(20)])
    async with opened(valkey_url, 3) as store:
        await store.append([feedback(number) for number in range(20)])
        with redis.Redis.from_url(valkey_url) as client:
            seconds, _ = client.time()
            first, second = noted(client).epochs
            assert (first.since_ms, len(first.tags), len(second.tags)) == (0, 1, 3)
            wait_ms = second.since_ms - int(seconds) * 1000
            assert GROWTH_DELAY_MS - 5_000 < wait_ms < GROWTH_DELAY_MS + 5_000
            assert client.xlen("{rag}:feedback") == 20
        trace = await store.trace(decision(7).decision_id)
        assert trace is not None
        assert trace.feedback == [feedback(7)]


async def test_a_position_from_before_there_were_more_shards_still_counts(valkey_url: str) -> None:
    async with opened(valkey_url, 1) as store:
        await store.append([decision(1)])
        with redis.Redis.from_url(valkey_url) as client:
            [entry] = RedisEventReader(client).read("decisions", "0-0", 10)
            grown = noted(client).grown(3, 0)
            client.set(KEYS.shards, grown.encoded())
            await store.ping()
            await store.append([decision(number) for number in range(1, 30)])
            later = RedisEventReader(client).read("decisions", entry.position, 100)
    # Decision 1 may have moved with its shard, since this growth was at once: it is stored again.
    assert {e.event.decision_id for e in later if e.event} >= {
        decision(number).decision_id for number in range(2, 30)
    }


@pytest.mark.parametrize("counts", [(3, 3, 3, 3), (2, 5, 3, 5), (1, 4, 1, 2)])
async def test_replicas_that_start_at_once_agree(valkey_url: str, counts: tuple[int, ...]) -> None:
    """On the most that any of them wants."""
    stores = [RedisEventStore.from_url(valkey_url, shards=count) for count in counts]
    await asyncio.gather(*(store.ping() for store in stores))
    with redis.Redis.from_url(valkey_url) as client:
        assert len(noted(client).all) == max(counts)
    await asyncio.gather(*(store.close() for store in stores))


async def test_fewer_shards_are_never_had_again(valkey_url: str) -> None:
    """What is in them is still to be read."""
    async with opened(valkey_url, 3) as store:
        await store.append([decision(number) for number in range(20)])
    async with opened(valkey_url, 1) as store:
        assert await store.append([decision(number) for number in range(20)]) == 0


async def test_a_replica_that_runs_agrees_with_one_of_more_shards_on_an_empty_log(
    valkey_url: str,
) -> None:
    """The first may have written by the time that the second one's shards count, not before."""
    events: list[Event] = [kind(n) for n in range(30) for kind in (decision, feedback)]
    old = RedisEventStore.from_url(valkey_url, shards=1)
    await old.ping()
    async with opened(valkey_url, 3) as new:
        await new.ping()
        assert await old.append(events) == 60
        assert await new.append(events) == 0
        assert await new.trace(decision(7).decision_id) is not None
    await old.close()


async def test_more_shards_are_seen_by_a_replica_that_only_appends(valkey_url: str) -> None:
    """As one does while it replays a long spool."""
    made_now = [msgspec.structs.replace(decision(0), decision_id=str(uuid7())) for _ in range(30)]
    async with opened(valkey_url, 1) as store, opened(valkey_url, 1) as other:
        await store.append([decision(1)])
        with redis.Redis.from_url(valkey_url) as client:
            client.set(KEYS.shards, noted(client).grown(3, 1).encoded())
        assert await store.append(made_now) == 30
        await other.ping()
        assert await other.append(made_now) == 0


async def test_idempotency_keys_are_remembered_when_shards_are_added(valkey_url: str) -> None:
    keys = [f"feedback:{number}" for number in range(20)]
    async with opened(valkey_url, 2) as store:
        for key in keys:
            assert await store.remember(key, "one", 60) is None
        with redis.Redis.from_url(valkey_url) as client:
            client.set(KEYS.shards, noted(client).grown(7, 1).encoded())
        await store.ping()
        assert [await store.remember(key, "other", 60) for key in keys] == ["one"] * 20
