"""What the service writes events to: never waited for, never lost while a disk or a store is left.

`record` puts an event into a bounded queue and returns. A background task writes batches to the
store; while the store is away they go to the spool on disk, and a second task replays them once it
is back. The store appends exactly once, so nothing here has to know whether a write that timed out
arrived.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import msgspec

from policies.errors import EventError
from policies.events import Event, decode_event, encode_event
from router.log.counters import LogCounters
from router.log.errors import LogError, StoreUnavailableError
from router.log.lane import Lane
from router.log.spool import Spool
from router.log.store import EventStore, Trace

__all__ = ["Appended", "EventLog", "LogCounters"]

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

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
        self._store = store
        self._spool = spool
        self._capacity = capacity
        self._batch_size = batch_size
        self._batch_delay = batch_delay_s
        self._store_timeout = store_timeout_s
        self._longest_pause = longest_pause_s
        self._adopt_every = adopt_every_s
        self._tally = LogCounters()
        self._queue = Lane()
        self._overflow = Lane()
        self._appending = asyncio.Semaphore(_APPENDS_AT_ONCE)
        self._to_spool: list[tuple[Sequence[bytes], asyncio.Future[bool]]] = []
        self._spooling: asyncio.Task[None] | None = None
        self._replay_wanted = asyncio.Event()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._disk: ThreadPoolExecutor | None = None

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
        if self._stopping.is_set() and self._disk is None:
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
        if self._disk is None:
            raise StoreUnavailableError("the log isn't running: try again later")
        async with self._appending:
            new = await self._try_store(events) if self._tally.store_up else None
        if new is not None:
            self._tally.recorded += len(events)
            return Appended("stored", new)
        if await self._try_spool(encoded):
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
        await self.flush(self._store_timeout)
        return await self._ask(self._store.trace(decision_id))

    async def remember(self, key: str, fingerprint: str, ttl_s: float) -> str | None:
        """EventStore.remember, in time.

        Raises:
            StoreUnavailableError: the store doesn't answer.
        """
        return await self._ask(self._store.remember(key, fingerprint, ttl_s))

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
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="spool")
        try:
            await self._on_disk(self._spool.open)
        except LogError:
            self._disk.shutdown()
            raise
        self._stopping.clear()
        await self._check_store()
        self._tasks = [
            asyncio.create_task(self._write_forever(), name="log-writer"),
            asyncio.create_task(self._spill_forever(), name="log-overflow"),
            asyncio.create_task(self._replay_forever(), name="log-replay"),
        ]

    async def stop(self, timeout: float = 10.0) -> None:
        """Write all that was recorded to the store or to disk, then let go of the spool.

        What `timeout` leaves unsent to the store stays on disk, for the next process to replay.
        """
        if self._disk is None:
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
                    await self._replay()
            except TimeoutError:
                _log.warning("the log stops with %d bytes left to replay", self._spool.size_bytes)
        if self._spooling is not None:
            await self._spooling
        await self._on_disk(self._spool.close)
        self._disk.shutdown()
        self._disk, self._tasks = None, []

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
            if by_store and self._tally.store_up and await self._try_store(batch) is not None:
                return
            if await self._try_spool(self._encode(batch)):
                return
            by_store = True
            attempt += 1
            if self._stopping.is_set() and attempt >= 3:
                self._lose(len(batch), "the service stops with neither store nor disk")
                return
            await self._pause(attempt)

    async def _try_store(self, events: Sequence[Event]) -> int | None:
        """How many were new in the store, None where it failed."""
        try:
            new = await self._ask(self._store.append(events))
        except StoreUnavailableError as error:
            self._store_failed(error)
            return None
        except Exception:
            # An event that can't be encoded, most likely: the spool tells which one it is.
            self._tally.store_failures += 1
            _log.exception("a batch of events couldn't be stored; it goes to the spool")
            return None
        self._tally.stored += new
        self._tally.duplicates += len(events) - new
        return new

    async def _try_spool(self, encoded: Sequence[bytes]) -> bool:
        """Whether the events are on disk now; those who ask at one time share a disk flush."""
        safe: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._to_spool.append((encoded, safe))
        if self._spooling is None or self._spooling.done():
            self._spooling = asyncio.create_task(self._spool_together(), name="log-spool")
        return await safe

    async def _spool_together(self) -> None:
        while self._to_spool:
            asked, self._to_spool = self._to_spool, []
            payloads = [payload for encoded, _ in asked for payload in encoded]
            try:
                await self._on_disk(self._spool.append, payloads)
            except Exception as error:  # whatever it is, who asked keeps the events
                self._tally.spool_failures += 1
                _log.error("%d events couldn't be spooled: %r", len(payloads), error)
                is_safe = False
            else:
                self._tally.spooled += len(payloads)
                self._replay_wanted.set()
                is_safe = True
            for _, safe in asked:
                if not safe.done():
                    safe.set_result(is_safe)

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

    # --- from the spool to the store ---

    async def _replay_forever(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            self._replay_wanted.clear()
            if await self._check_store() and await self._replay():
                attempt = 0
                await self._wait_for_replay()
            else:
                attempt += 1
                await self._pause(attempt)

    async def _wait_for_replay(self) -> None:
        try:
            async with asyncio.timeout(self._adopt_every):
                await self._replay_wanted.wait()
        except TimeoutError:
            await self._on_disk_or_log(self._spool.adopt)

    async def _check_store(self) -> bool:
        """Whether the store answers; asked now and then even if the last write went well."""
        try:
            await self._ask(self._store.ping())
        except StoreUnavailableError as error:
            self._store_failed(error)
            return False
        if not self._tally.store_up:
            _log.info("the store answers")
        self._tally.store_up = True
        return True

    async def _replay(self) -> bool:
        """Send every spooled segment to the store, oldest first; whether all were acknowledged."""
        while (segment := await self._on_disk_or_log(self._spool.oldest)) is not None:
            content = await self._on_disk_or_log(self._spool.read, segment)
            if content is None:
                return False
            events = self._decode(content.payloads)
            for start in range(0, len(events), self._batch_size):
                batch = events[start : start + self._batch_size]
                if await self._try_store(batch) is None:
                    return False
                self._tally.replayed += len(batch)
            whole = content.sound and len(events) == len(content.payloads)
            await self._on_disk_or_log(self._spool.remove, segment, whole)
        return True

    def _decode(self, records: Sequence[bytes]) -> list[Event]:
        """The events in a segment; one of a later release stays on disk, set aside."""
        events = []
        for record in records:
            try:
                event = decode_event(record)
            except EventError as error:
                _log.error("a spooled record is no event: %s", error)
                continue
            if event is not None:
                events.append(event)
        return events

    # --- waiting ---

    async def _ask(self, answer: Awaitable[_Result]) -> _Result:
        try:
            async with asyncio.timeout(self._store_timeout):
                return await answer
        except TimeoutError as error:
            raise StoreUnavailableError(
                f"the store didn't answer within {self._store_timeout:g} s: try again later"
            ) from error

    def _store_failed(self, error: StoreUnavailableError) -> None:
        self._tally.store_failures += 1
        if self._tally.store_up:
            _log.warning("the store is away, events go to the spool: %s", error)
        self._tally.store_up = False
        self._replay_wanted.set()

    async def _pause(self, attempt: int) -> None:
        """Wait before the next attempt, twice as long each time, with jitter, unless stopped."""
        longest = min(0.1 * 2 ** min(attempt, 10), self._longest_pause)
        try:
            async with asyncio.timeout(longest * random.uniform(0.5, 1.0)):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _on_disk(self, call: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._disk, call, *arguments)

    async def _on_disk_or_log(
        self, call: Callable[..., _Result], *arguments: object
    ) -> _Result | None:
        try:
            return await self._on_disk(call, *arguments)
        except (OSError, LogError) as error:
            self._tally.spool_failures += 1
            _log.error("the spool failed: %s", error)
            return None
