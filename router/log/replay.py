"""From the spool to the store: what was put on disk while the store was away is sent again."""

import asyncio
import logging
from collections.abc import Sequence

from policies.errors import EventError
from policies.events import Event, decode_event
from router.log.backoff import pause
from router.log.counters import LogCounters
from router.log.spool_thread import SpoolThread
from router.log.store_link import StoreLink

_log = logging.getLogger(__name__)


class Replay:
    """Sends spooled segments to the store, oldest first, and looks now and then for more."""

    def __init__(
        self,
        spool: SpoolThread,
        store: StoreLink,
        tally: LogCounters,
        *,
        wanted: asyncio.Event,
        batch_size: int,
        longest_pause_s: float,
        adopt_every_s: float,
    ) -> None:
        """Store the parts.

        Args:
            spool: where the segments are.
            store: where their events are to end up.
            tally: where replayed events are counted.
            wanted: set by whoever has put something into the spool, or found the store away.
            batch_size: events written to the store at once, at most.
            longest_pause_s: between two attempts to reach a store that is away.
            adopt_every_s: how often to look for what a dead process left in the spool.
        """
        self._spool = spool
        self._store = store
        self._tally = tally
        self._wanted = wanted
        self._batch_size = batch_size
        self._longest_pause = longest_pause_s
        self._adopt_every = adopt_every_s

    async def run(self, stopping: asyncio.Event) -> None:
        """Replay whenever it is wanted, until the log stops."""
        attempt = 0
        while not stopping.is_set():
            self._wanted.clear()
            if await self._store.check() and await self.replay():
                attempt = 0
                await self._wait()
            else:
                attempt += 1
                await pause(attempt, self._longest_pause, stopping)

    async def replay(self) -> bool:
        """Send every spooled segment to the store, oldest first; whether all were acknowledged."""
        while (segment := await self._spool.oldest()) is not None:
            content = await self._spool.read(segment)
            if content is None:
                return False
            events = _decoded(content.payloads)
            for start in range(0, len(events), self._batch_size):
                batch = events[start : start + self._batch_size]
                if await self._store.append(batch) is None:
                    return False
                self._tally.replayed += len(batch)
            whole = content.sound and len(events) == len(content.payloads)
            await self._spool.remove(segment, whole)
        return True

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._adopt_every):
                await self._wanted.wait()
        except TimeoutError:
            await self._spool.adopt()


def _decoded(records: Sequence[bytes]) -> list[Event]:
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
