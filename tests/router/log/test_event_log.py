"""The event log: nothing waits, nothing is lost, nothing is counted twice."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import redis

from policies.events import Event, decode_event
from router.log.errors import SpoolError, StoreUnavailableError
from router.log.event_log import EventLog
from router.log.memory_store import MemoryEventStore
from router.log.redis_store import RedisEventStore
from router.log.spool import Spool
from router.log.store import EventStore, Trace
from tests.event_factory import answer, decision, feedback
from tests.stores import StoreServer


class FaultyStore(MemoryEventStore):
    """The twin, with a switch: up, down (an error at once), or hanging (no answer ever)."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: str | None = None

    async def _obey(self) -> None:
        if self.fault == "hang":
            await asyncio.Event().wait()
        if self.fault == "down":
            raise StoreUnavailableError("switched off")

    async def append(self, events: Sequence[Event]) -> int:
        await self._obey()
        return await super().append(events)

    async def trace(self, decision_id: str) -> Trace | None:
        await self._obey()
        return await super().trace(decision_id)

    async def ping(self) -> None:
        await self._obey()


async def until(condition: Callable[[], object]) -> None:
    """Return once the condition holds; TimeoutError after 30 s."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore()


@pytest.fixture
async def log(store: FaultyStore, tmp_path: Path) -> AsyncIterator[EventLog]:
    """A started log over the faulty store, quick to give up and to come back."""
    log = make_log(store, tmp_path)
    await log.start()
    yield log
    await log.stop()


def make_log(
    store: EventStore, directory: Path, *, capacity: int = 10_000, timeout_s: float = 0.1
) -> EventLog:
    return EventLog(
        store,
        Spool(directory / "spool"),
        capacity=capacity,
        store_timeout_s=timeout_s,
        longest_pause_s=0.05,
        adopt_every_s=0.05,
    )


async def test_what_is_recorded_is_stored_in_order(log: EventLog, store: FaultyStore) -> None:
    """Flush waits for all of it."""
    events = [decision(number) for number in range(1_200)]
    for event in events:
        log.record(event)
    assert await log.flush()
    assert store.events == events
    counters = log.counters
    assert (counters.recorded, counters.stored, counters.queue_depth) == (1_200, 1_200, 0)
    assert counters.store_up


async def test_a_trace_includes_what_was_recorded_just_now(log: EventLog) -> None:
    """Reading one's own writes needs no wait."""
    log.record(decision(1))
    log.record(answer(1))
    trace = await log.trace(decision(1).decision_id)
    assert trace is not None
    assert trace.answer == answer(1)


@pytest.mark.parametrize("fault", ["down", "hang"])
async def test_events_of_an_outage_are_spooled_and_replayed(
    log: EventLog, store: FaultyStore, fault: str
) -> None:
    """Each is in the store exactly once afterwards, whichever way the store failed."""
    log.record(decision(0))
    await log.flush()
    store.fault = fault
    for number in range(1, 800):
        log.record(decision(number))
    assert await log.flush()
    assert log.counters.spooled == 799
    assert log.counters.spool_bytes > 0
    assert not log.store_up
    store.fault = None
    await until(lambda: len(store.events) == 800)
    await until(lambda: log.counters.spool_bytes == 0)
    assert sorted(event.decision_id for event in store.events) == [
        decision(number).decision_id for number in range(800)
    ]
    assert log.counters.replayed == 799
    assert log.counters.lost == 0


async def test_a_full_queue_overflows_to_disk(store: FaultyStore, tmp_path: Path) -> None:
    """While the store hangs, more events than the queue holds are taken in at once."""
    log = make_log(store, tmp_path, capacity=10)
    await log.start()
    store.fault = "hang"
    for number in range(1_000):
        log.record(decision(number))
    assert log.counters.overflowed == 990
    assert await log.flush()
    assert log.counters.spooled == 1_000
    store.fault = None
    await until(lambda: len(store.events) == 1_000)
    await log.stop()


async def test_of_events_recorded_together_what_the_queue_cant_hold_overflows(
    store: FaultyStore, tmp_path: Path
) -> None:
    log = make_log(store, tmp_path, capacity=10)
    await log.start()
    events = [decision(number) for number in range(25)]
    log.record_all(events[:8])
    assert (log.counters.queue_depth, log.counters.overflowed) == (8, 0)
    log.record_all(events[8:])
    assert (log.counters.recorded, log.counters.overflowed) == (25, 15)
    await until(lambda: len(store.events) == 25)
    # The disk's share may be stored first; the queue's is in order.
    queued = events[:10]
    assert [event for event in store.events if event in queued] == queued
    await log.stop()
    log.record_all(events[:2])
    assert log.counters.lost == 2


async def test_an_append_says_where_its_events_are(log: EventLog, store: FaultyStore) -> None:
    """Stored with the number that was new, or spooled with that number unknown."""
    first = await log.append([feedback(1), feedback(2)])
    assert (first.where, first.new) == ("stored", 2)
    again = await log.append([feedback(1)])
    assert (again.where, again.new) == ("stored", 0)
    store.fault = "hang"
    spooled = await log.append([feedback(3)])
    assert (spooled.where, spooled.new) == ("spooled", None)
    store.fault = None
    await until(lambda: len(store.events) == 3)


async def test_appends_in_an_outage_share_disk_flushes(
    log: EventLog, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many at once cost few flushes, and each is replayed."""
    store.fault = "down"
    await log.append([feedback(0)])
    flushes = 0
    spool_append = Spool.append

    def counting(self: Spool, payloads: Sequence[bytes]) -> None:
        nonlocal flushes
        flushes += 1
        spool_append(self, payloads)

    monkeypatch.setattr(Spool, "append", counting)
    appended = await asyncio.gather(*(log.append([feedback(n)]) for n in range(1, 400)))
    assert {result.where for result in appended} == {"spooled"}
    assert flushes < 40
    store.fault = None
    await until(lambda: len(store.events) == 400)


async def test_an_append_that_nothing_takes_is_refused(
    log: EventLog, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the caller must try again: nothing was taken in."""
    store.fault = "down"
    _break_disk(monkeypatch)
    with pytest.raises(StoreUnavailableError, match="neither the store nor the disk"):
        await log.append([feedback(1)])
    monkeypatch.undo()
    store.fault = None
    await until(lambda: log.store_up)
    assert store.events == []


async def test_with_neither_store_nor_disk_events_wait_in_memory(
    log: EventLog, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are stored when either is back, and the failures are counted."""
    store.fault = "down"
    _break_disk(monkeypatch)
    for number in range(600):
        log.record(decision(number))
    await until(lambda: log.counters.spool_failures >= 2)
    assert not await log.flush(0.05)
    store.fault = None
    await until(lambda: len(store.events) == 600)
    assert log.counters.lost == 0


async def test_an_event_that_cant_be_encoded_takes_no_other_with_it(
    log: EventLog, store: FaultyStore
) -> None:
    """It is dropped, counted and logged; its batch is stored."""
    poison = decision(1, at=object())  # type: ignore[arg-type]
    store.append = _encoding_append(store)  # type: ignore[method-assign]
    for event in (decision(0), poison, decision(2)):
        log.record(event)
    await log.flush()
    await until(lambda: len(store.events) == 2)
    assert log.counters.lost == 1
    with pytest.raises(TypeError):
        await log.append([poison])


def _encoding_append(store: FaultyStore) -> Callable[[Sequence[Event]], object]:
    from policies.events import encode_event

    async def append(events: Sequence[Event]) -> int:
        for event in events:
            encode_event(event)
        return await FaultyStore.append(store, events)

    return append


async def test_stopping_stores_what_is_queued(store: FaultyStore, tmp_path: Path) -> None:
    """Nothing recorded before the stop is left behind, and the disk is clean."""
    log = make_log(store, tmp_path)
    await log.start()
    for number in range(2_000):
        log.record(decision(number))
    await log.stop()
    assert len(store.events) == 2_000
    assert not list((tmp_path / "spool").iterdir())


async def test_stopping_without_a_store_leaves_events_for_the_next(
    store: FaultyStore, tmp_path: Path
) -> None:
    """A log started later on the same directory replays them."""
    log = make_log(store, tmp_path)
    store.fault = "hang"
    await log.start()
    for number in range(2_000):
        log.record(decision(number))
    await log.stop()
    assert store.events == []
    store.fault = None
    later = make_log(store, tmp_path)
    await later.start()
    await until(lambda: len(store.events) == 2_000)
    await later.stop()
    assert not list((tmp_path / "spool").iterdir())


async def test_what_a_neighbour_leaves_is_adopted_while_running(
    log: EventLog, store: FaultyStore, tmp_path: Path
) -> None:
    """A worker that dies beside us needs no restart of ours."""
    neighbour_store = FaultyStore()
    neighbour_store.fault = "down"
    neighbour = make_log(neighbour_store, tmp_path)
    await neighbour.start()
    neighbour.record(decision(1))
    await neighbour.stop()
    await until(lambda: store.events == [decision(1)])


async def test_an_unusable_directory_stops_the_start(store: FaultyStore, tmp_path: Path) -> None:
    """Better at once than at the first outage."""
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(SpoolError, match="can't be used"):
        await make_log(store, tmp_path).start()


async def test_a_trace_without_a_store_is_unavailable(log: EventLog, store: FaultyStore) -> None:
    """Not None, which would say that there is no such decision."""
    store.fault = "hang"
    with pytest.raises(StoreUnavailableError, match="didn't answer within"):
        await log.trace("x")


async def test_spooled_events_of_a_later_release_are_set_aside(
    store: FaultyStore, tmp_path: Path
) -> None:
    """After going back to an older release its newer events stay on disk; the others replay."""
    import msgspec

    from policies.events import encode_event

    newer = msgspec.msgpack.encode({"type": "Newer"})
    assert decode_event(newer) is None
    spool = Spool(tmp_path / "spool")
    spool.open()
    spool.append([encode_event(decision(1)), newer])
    spool.close()
    log = make_log(store, tmp_path)
    await log.start()
    await until(lambda: store.events == [decision(1)])
    await until(lambda: log.counters.spool_bytes == 0)
    await log.stop()
    assert len(list((tmp_path / "spool").glob("*.damaged"))) == 1


def _break_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Spool, payloads: Sequence[bytes]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "append", refuse)


# --- against real servers ---


def _stored(server: StoreServer) -> list[str]:
    """The ids of all decisions in the stream, in its order."""
    with server.client() as client:
        events = [decode_event(fields[b"e"]) for _, fields in client.xrange("{rag}:decisions")]
    return [event.decision_id for event in events if event is not None]


async def test_a_store_killed_mid_stream_ends_with_each_event_once(
    store_server: StoreServer, tmp_path: Path
) -> None:
    """SIGKILL twice while events flow; every event is in the stream exactly once."""
    store = RedisEventStore.from_url(store_server.url)
    log = make_log(store, tmp_path)
    await log.start()
    total = 6_000
    for number in range(total):
        log.record(decision(number))
        if number % 100 == 0:
            await asyncio.sleep(0.001)
        if number in (2_000, 4_000):
            store_server.kill()
        if number in (3_000, 5_000):
            await asyncio.to_thread(store_server.start)
    assert await log.flush()
    await until(lambda: log.counters.spool_bytes == 0)
    ids = _stored(store_server)
    assert len(ids) == total
    assert len(set(ids)) == total
    assert log.counters.spooled > 0
    assert log.counters.lost == 0
    await log.stop()
    await store.close()


async def test_a_paused_store_blocks_nobody_and_loses_nothing(
    store_server: StoreServer, tmp_path: Path
) -> None:
    """All is recorded and safe on disk while the store stands still; then each is stored once."""
    store = RedisEventStore.from_url(store_server.url, timeout_s=0.2)
    log = make_log(store, tmp_path, capacity=500)
    await log.start()
    log.record(decision(0))
    await log.flush()
    store_server.pause()
    for number in range(1, 3_000):
        log.record(decision(number))  # no await: were this to wait for the store, it would hang
    assert log.counters.recorded == 3_000
    assert await log.flush()
    spooled = await log.append([feedback(1)])
    assert spooled.where == "spooled"
    assert log.counters.overflowed == 2_499
    assert log.counters.spooled == 3_000
    store_server.resume()
    await until(lambda: log.counters.spool_bytes == 0)
    ids = _stored(store_server)
    assert len(ids) == 3_000
    assert len(set(ids)) == 3_000
    await log.stop()
    await store.close()


async def test_a_service_starts_before_its_store(
    valkey_server: StoreServer, tmp_path: Path
) -> None:
    """An absent store is no error; it is used as soon as it is there."""
    valkey_server.kill()
    store = RedisEventStore.from_url(valkey_server.url)
    log = make_log(store, tmp_path)
    await log.start()
    assert not log.store_up
    log.record(decision(1))
    await asyncio.to_thread(valkey_server.start)
    await until(lambda: log.store_up and log.counters.spool_bytes == 0)
    await log.flush()
    assert _stored(valkey_server) == [decision(1).decision_id]
    await log.stop()
    await store.close()


async def test_two_replicas_that_retry_each_other_store_once(
    valkey_url: str, tmp_path: Path
) -> None:
    """Two processes' logs on one store with the same feedback: one entry."""
    stores = [RedisEventStore.from_url(valkey_url) for _ in range(2)]
    logs = [
        make_log(store, tmp_path / str(index), timeout_s=10.0) for index, store in enumerate(stores)
    ]
    for log in logs:
        await log.start()
    appended = await asyncio.gather(
        *(log.append([feedback(number)]) for number in range(100) for log in logs)
    )
    assert sum(result.new or 0 for result in appended) == 100
    with redis.Redis.from_url(valkey_url) as client:
        assert client.xlen("{rag}:feedback") == 100
    for log, store in zip(logs, stores, strict=True):
        await log.stop()
        await store.close()
