"""The log's way to the store: every call ends in time, and whether the store is up is known."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from policies.events import Event
from router.log.counters import LogCounters
from router.log.errors import StoreUnavailableError
from router.log.store import EventStore, Trace

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class StoreLink:
    """An event store whose calls end in time; `tally.store_up` says how the last one went."""

    def __init__(
        self, store: EventStore, tally: LogCounters, timeout_s: float, failed: asyncio.Event
    ) -> None:
        """Store the parts.

        Args:
            store: where events are to end up.
            tally: where calls that failed, and events that were stored, are counted.
            timeout_s: how long one call may take.
            failed: set whenever the store is found to be away.
        """
        self._store = store
        self._tally = tally
        self._timeout = timeout_s
        self._failed = failed

    async def append(self, events: Sequence[Event]) -> int | None:
        """How many were new in the store, None where it failed."""
        try:
            new = await self._ask(self._store.append(events))
        except StoreUnavailableError as error:
            self._note_failure(error)
            return None
        except Exception:
            # An event that can't be encoded, most likely: the spool tells which one it is.
            self._tally.store_failures += 1
            _log.exception("a batch of events couldn't be stored; it goes to the spool")
            return None
        self._tally.stored += new
        self._tally.duplicates += len(events) - new
        return new

    async def trace(self, decision_id: str) -> Trace | None:
        """EventStore.trace; raises StoreUnavailableError where no answer comes in time."""
        return await self._ask(self._store.trace(decision_id))

    async def remember(self, key: str, fingerprint: str, ttl_s: float) -> str | None:
        """EventStore.remember; raises StoreUnavailableError where no answer comes in time."""
        return await self._ask(self._store.remember(key, fingerprint, ttl_s))

    async def check(self) -> bool:
        """Whether the store answers; asked now and then even if the last write went well."""
        try:
            await self._ask(self._store.ping())
        except StoreUnavailableError as error:
            self._note_failure(error)
            return False
        if not self._tally.store_up:
            _log.info("the store answers")
        self._tally.store_up = True
        return True

    async def _ask(self, answer: Awaitable[_Result]) -> _Result:
        try:
            async with asyncio.timeout(self._timeout):
                return await answer
        except TimeoutError as error:
            raise StoreUnavailableError(
                f"the store didn't answer within {self._timeout:g} s: try again later"
            ) from error

    def _note_failure(self, error: StoreUnavailableError) -> None:
        self._tally.store_failures += 1
        if self._tally.store_up:
            _log.warning("the store is away, events go to the spool: %s", error)
        self._tally.store_up = False
        self._failed.set()
