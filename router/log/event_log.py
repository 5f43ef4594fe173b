"""What the service writes events to: never waited for, never lost while a disk or a store is left.

`record` puts an event into a bounded queue and returns. A background task writes batches to the
store; while the store is away they go to the spool on disk, and a second task replays them once it
is back. The store appends exactly once, so nothing here has to know whether a write that timed out
arrived.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Literal

import msgspec

from policies.events import Event, encode_event
from router.log.backoff import pause
from router.log.counters import LogCounters
from router.log.errors import StoreUnavailableError
from router.log.lane import Lane
from router.log.replay import Replay
from router.log.spool import Spool
from router.log.spool_thread import SpoolThread
from router.log.store import EventStore, Trace
from router.log.store_link import StoreLink

_log = logging.getLogger(__name__)

# The last resort's bound: with neither store nor disk, so many events wait in memory (about 1 to
# 2 kB each) before new ones are dropped, because a process killed for memory would lose them all.
_LAST_RESORT = 200_000

# So many waited-for appends are with the store at once; others wait without their time running.
_APPENDS_AT_ONCE = 16


class Appended(msgspec.Struct, frozen=True):
    """Where events that were waited for are safe, and how many of them weren't known before.

    `new` is None where they are spooled: the store tells only when they are replayed.
    """

    where: Literal["stored", "spooled"]
    new: int | None


class EventLog:
    """Takes events in without waiting and sees to it that each is stored exactly once.

    Use it from one event loop. Whoever made the store closes it.
    """

    def __init__(
        self,
        store: EventStore,
        spool: Spool,
        *,
        capacity: int = 10_000,
        batch_size: int = 2_000,
        batch_delay_s: float = 0.005,
        store_timeout_s: float = 2.0,
        longest_pause_s: float = 5.0,
        adopt_every_s: float = 10.0,
    ) -> None:
        """Store the parts; `start` begins.

        Args:
            store: where events are to end up.
            spool: the disk that holds them while the store is away.
            capacity: events that may wait for the store in memory.
            batch_size: events written to the store at once, at most.
            batch_delay_s: how long an event waits for others to share its batch.
            store_timeout_s: how long one call to the store may take.
            longest_pause_s: between two attempts to reach a store that is away.
            adopt_every_s: how often to look for what a dead process left in the spool.
        """
        self._spool = spool
        self._capacity = capacity
        self._batch_size = batch_size
        self._batch_delay = batch_delay_s
        self._flush_timeout = store_timeout_s
        self._longest_pause = longest_pause_s
        self._tally = LogCounters()
        replay_wanted = asyncio.Event()
        self._store = StoreLink(store, self._tally, store_timeout_s, failed=replay_wanted)
        self._disk = SpoolThread(spool, self._tally, spooled=replay_wanted)
        self._replay = Replay(
            self._disk,
            self._store,
            self._tally,
            wanted=replay_wanted,
            batch_size=batch_size,
            longest_pause_s=longest_pause_s,
            adopt_every_s=adopt_every_s,
        )
        self._queue = Lane()
        self._overflow = Lane()
        self._appending = asyncio.Semaphore(_APPENDS_AT_ONCE)
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    # --- for the service ---

    @property
    def counters(self) -> LogCounters:
        """A copy of the counters as they stand."""
        return msgspec.structs.replace(
            self._tally,
            damaged=self._spool.damaged,
            queue_depth=self._queue.depth + self._overflow.depth,
            spool_bytes=self._spool.size_bytes,
        )

    @property
    def store_up(self) -> bool:
        """Whether the store took the last write or answered the last ping, seconds ago at most."""
        return self._tally.store_up

    def record(self, event: Event) -> None:
        """Take an event in. Never waits, never raises, never touches network or disk."""
        self._tally.recorded += 1
        if self._stopping.is_set() and not self._disk.is_open:
            self._lose(1, "the log has stopped")
        elif self._queue.depth < self._capacity and not self._stopping.is_set():
            self._queue.put(event)
        elif self._overflow.depth < _LAST_RESORT:
            self._tally.overflowed += 1
            self._overflow.put(event)
        else:
            self._lose(1, "neither the store nor the disk takes them")

    def record_all(self, events: Sequence[Event]) -> None:
        """Take events in, as `record` does one."""
        if self._queue.depth + len(events) > self._capacity or self._stopping.is_set():
            for event in events:
                self.record(event)
            return
        self._tally.recorded += len(events)
        self._queue.put_all(events)

    async def append(self, events: Sequence[Event]) -> Appended:
        """Return once the events are stored, or safe on disk.

        Raises:
            StoreUnavailableError: neither is possible; trying again with the same events is safe.
        """
        encoded = [encode_event(event) for event in events]
        if not self._disk.is_open:
            raise StoreUnavailableError("the log isn't running: try again later")
        async with self._appending:
            new = await self._store.append(events) if self._tally.store_up else None
        if new is not None:
            self._tally.recorded += len(events)
            return Appended("stored", new)
        if await self._disk.append(encoded):
            self._tally.recorded += len(events)
            return Appended("spooled", None)
        raise StoreUnavailableError(
            "neither the store nor the disk takes events at the moment: try again later"
        )

    async def trace(self, decision_id: str) -> Trace | None:
        """What is stored on a decision, what was recorded just now included.

        Raises:
            StoreUnavailableError: the store doesn't answer.
        """
        await self.flush(self._flush_timeout)
        return await self._store.trace(decision_id)

    async def remember(self, key: str, fingerprint: str, ttl_s: float) -> str | None:
        """EventStore.remember, in time.

        Raises:
            StoreUnavailableError: the store doesn't answer.
        """
        return await self._store.remember(key, fingerprint, ttl_s)

    async def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was recorded so far is stored or on disk; whether it is, in time."""
        lanes = [lane for lane in (self._queue, self._overflow) if lane.pending]
        if not lanes:
            return True
        settled = asyncio.gather(*(lane.settled_up_to_now() for lane in lanes))
        try:
            async with asyncio.timeout(timeout):
                await settled
        except TimeoutError:
            return False
        return True

    async def start(self) -> None:
        """Open the spool, look for the store, and begin to write; a store that is away is no error.

        Raises:
            SpoolError: the spool directory can't be used.
        """
        await self._disk.open()
        self._stopping.clear()
        await self._store.check()
        self._tasks = [
            asyncio.create_task(self._write_forever(), name="log-writer"),
            asyncio.create_task(self._spill_forever(), name="log-overflow"),
            asyncio.create_task(self._replay.run(self._stopping), name="log-replay"),
        ]

    async def stop(self, timeout: float = 10.0) -> None:
        """Write all that was recorded to the store or to disk, then let go of the spool.

        What `timeout` leaves unsent to the store stays on disk, for the next process to replay.
        """
        if not self._disk.is_open:
            return
        self._stopping.set()
        writer, spiller, replayer = self._tasks
        self._queue.wake()
        self._overflow.wake()
        await writer
        self._overflow.wake()
        await spiller
        replayer.cancel()
        await asyncio.wait([replayer])
        if self._tally.store_up:
            try:
                async with asyncio.timeout(timeout):
                    await self._replay.replay()
            except TimeoutError:
                _log.warning("the log stops with %d bytes left to replay", self._spool.size_bytes)
        await self._disk.close()
        self._tasks = []

    # --- from the queue to the store ---

    async def _write_forever(self) -> None:
        while await self._queue.wait(self._stopping):
            if self._queue.depth < self._batch_size and not self._queue.hurried:
                await asyncio.sleep(self._batch_delay)
            batch = self._queue.take(self._batch_size)
            await self._settle(batch, by_store=True)
            self._queue.settle(len(batch))

    async def _spill_forever(self) -> None:
        while await self._overflow.wait(self._stopping):
            batch = self._overflow.take(self._batch_size)
            await self._settle(batch, by_store=False)
            self._overflow.settle(len(batch))

    async def _settle(self, batch: Sequence[Event], *, by_store: bool) -> None:
        """Get a batch to the store or to disk, however long it takes."""
        attempt = 0
        while True:
            if by_store and self._tally.store_up and await self._store.append(batch) is not None:
                return
            if await self._disk.append(self._encode(batch)):
                return
            by_store = True
            attempt += 1
            if self._stopping.is_set() and attempt >= 3:
                self._lose(len(batch), "the service stops with neither store nor disk")
                return
            await pause(attempt, self._longest_pause, self._stopping)

    def _encode(self, events: Sequence[Event]) -> list[bytes]:
        encoded = []
        for event in events:
            try:
                encoded.append(encode_event(event))
            except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
                self._lose(1, f"not encodable: {error}")
        return encoded

    def _lose(self, count: int, why: str) -> None:
        if self._tally.lost == 0 or (self._tally.lost + count) // 1000 > self._tally.lost // 1000:
            _log.critical("events are being lost (%d so far): %s", self._tally.lost + count, why)
        self._tally.lost += count
