"""The contract of every EventStore."""

import asyncio

import pytest
import redis

from policies.events import Event
from policies.store_keys import StoreKeys
from router.log.errors import StoreUnavailableError
from router.log.redis_store import RedisEventStore
from router.log.store import EventStore
from tests.event_factory import answer, decision, feedback
from tests.stores import StoreServer


async def test_a_trace_holds_the_decision_its_answer_and_all_feedback(
    event_store: EventStore,
) -> None:
    """What was appended about a decision comes back equal, feedback in its order."""
    await event_store.append([decision(1), decision(2)])
    await event_store.append([answer(1), feedback(1, key="a"), feedback(2), feedback(1, key="b")])

    trace = await event_store.trace(decision(1).decision_id)

    assert trace is not None
    assert trace.decision == decision(1)
    assert trace.answer == answer(1)
    assert trace.feedback == [feedback(1, key="a"), feedback(1, key="b")]


async def test_a_decision_nobody_made_has_no_trace(event_store: EventStore) -> None:
    """None, not an empty trace."""
    assert await event_store.trace("decision-000404") is None


async def test_feedback_on_a_forgotten_decision_is_kept(event_store: EventStore) -> None:
    """Feedback is accepted whatever became of its decision."""
    assert await event_store.append([feedback(7)]) == 1
    trace = await event_store.trace(feedback(7).decision_id)
    assert trace is not None
    assert trace.decision is None
    assert trace.feedback == [feedback(7)]


async def test_a_batch_sent_again_adds_nothing(event_store: EventStore) -> None:
    """Each event is stored once, however often and in whatever company it is sent."""
    batch: list[Event] = [decision(1), answer(1), feedback(1)]
    assert await event_store.append(batch) == 3
    assert await event_store.append(batch) == 0
    assert await event_store.append([*batch, feedback(1, key="b")]) == 1
    assert await event_store.append([]) == 0


async def test_an_event_twice_in_one_batch_counts_once(event_store: EventStore) -> None:
    """Exactly once holds within a batch too."""
    assert await event_store.append([decision(1), decision(1)]) == 1


async def test_concurrent_appends_of_one_batch_add_it_once(event_store: EventStore) -> None:
    """Writers with the same events, as after a retry that overtakes.

    A cluster's client sends again by itself where it lost an answer, and is then told of nothing
    new: so the counts may come to less than was added, never to more.
    """
    batch = [decision(number) for number in range(200)]
    new = await asyncio.gather(*(event_store.append(batch) for _ in range(8)))
    assert sum(new) <= 200
    assert await event_store.append(batch) == 0
    traces = [await event_store.trace(event.decision_id) for event in batch]
    assert [trace.decision for trace in traces if trace is not None] == batch


async def test_a_key_remembers_its_first_fingerprint(event_store: EventStore) -> None:
    """None for a new key; then what it was first used with."""
    assert await event_store.remember("key", "first", 60.0) is None
    assert await event_store.remember("key", "second", 60.0) == "first"
    assert await event_store.remember("other", "second", 60.0) is None


async def test_a_key_is_forgotten_after_its_time(event_store: EventStore) -> None:
    """The key may then be used for something else."""
    assert await event_store.remember("key", "first", 0.001) is None
    async with asyncio.timeout(10):
        while await event_store.remember("key", "second", 60.0) is not None:
            await asyncio.sleep(0.002)


async def test_a_store_that_is_there_answers_a_ping(event_store: EventStore) -> None:
    """No error is the answer."""
    await event_store.ping()


async def test_the_state_counts_the_logs_entries(event_store: EventStore) -> None:
    """Of all shards; nobody has run a scheduled command on this store."""
    empty = await event_store.state()
    assert (empty.decisions, empty.feedback, empty.last_runs) == (0, 0, {})
    await event_store.append([decision(number) for number in range(20)])
    await event_store.append([answer(1), feedback(1), feedback(2)])
    state = await event_store.state()
    assert (state.decisions, state.feedback) == (21, 2)


async def test_the_state_tells_how_full_the_store_is_and_who_has_run(valkey_url: str) -> None:
    """Without a limit it is 0; a run that nobody knows is left out."""
    store = RedisEventStore.from_url(valkey_url)
    with redis.Redis.from_url(valkey_url) as client:
        unlimited = await store.state()
        client.config_set("maxmemory", 10**8)
        client.hset(StoreKeys().last_runs, mapping={"export": "12.5", "a later release's": "1"})
        state = await store.state()
        client.config_set("maxmemory", 0)
    await store.close()
    assert unlimited.limit_bytes == 0
    assert state.limit_bytes == 10**8
    assert 0 < state.used_bytes < 10**8
    assert state.last_runs == {"export": 12.5}


async def test_a_dead_redis_is_an_error_of_ours(store_server: StoreServer) -> None:
    """Every call says StoreUnavailableError, and works again once the server is back."""
    store = RedisEventStore.from_url(store_server.url)
    await store.append([decision(1)])
    store_server.kill()
    for call in (
        store.append([decision(2)]),
        store.trace("x"),
        store.remember("k", "f", 1.0),
        store.ping(),
        store.state(),
    ):
        with pytest.raises(StoreUnavailableError, match="can't be used at the moment"):
            await call
    store_server.start()
    # The script is gone from the server's cache, the events and the index are not.
    assert await store.append([decision(1), decision(2)]) == 1
    await store.close()


async def test_a_redis_that_hangs_is_given_up_in_time(valkey_server: StoreServer) -> None:
    """A paused server times out; the retry afterwards finds what did arrive."""
    store = RedisEventStore.from_url(valkey_server.url, timeout_s=0.2)
    await store.append([decision(1)])
    valkey_server.pause()
    with pytest.raises(StoreUnavailableError):
        await store.append([decision(2)])
    valkey_server.resume()
    await store.append([decision(2)])
    with valkey_server.client() as client:
        assert client.xlen("{rag}:decisions") == 2
    await store.close()


async def test_the_index_of_a_decision_expires(valkey_url: str) -> None:
    """Only the way back to a decision expires; the stream keeps its events for the export."""
    store = RedisEventStore.from_url(valkey_url, index_ttl_s=1, prefix="{other}")
    await store.append([decision(1)])
    async with asyncio.timeout(10):
        while await store.trace(decision(1).decision_id) is not None:
            await asyncio.sleep(0.02)
    await store.close()

    with redis.Redis.from_url(valkey_url) as client:
        assert client.xlen("{other}:decisions") == 1
        assert client.keys("{other}:trace:*") == []


async def test_an_event_of_a_later_release_is_skipped_in_a_trace(valkey_url: str) -> None:
    """What an old replica reads of a new one's events must not fail."""
    import msgspec

    store = RedisEventStore.from_url(valkey_url)
    await store.append([decision(1)])
    with redis.Redis.from_url(valkey_url) as client:
        entry = client.xadd("{rag}:decisions", {"e": msgspec.msgpack.encode({"type": "Newer"})})
        client.hset(f"{{rag}}:trace:{decision(1).decision_id}", "newer", entry)
    trace = await store.trace(decision(1).decision_id)
    await store.close()
    assert trace is not None
    assert trace.decision == decision(1)
