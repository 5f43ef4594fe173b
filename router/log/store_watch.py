"""Looks at the store now and then, so that a scrape never waits for it."""

import asyncio
import contextlib
import logging

from router.log.errors import StoreUnavailableError
from router.log.store import EventStore
from router.log.store_state import StoreState

_LOGGER = logging.getLogger(__name__)
LOOK_EVERY_S = 15.0


class StoreWatch:
    """Keeps what a store's state was when it last answered."""

    def __init__(self, store: EventStore, *, every_s: float = LOOK_EVERY_S) -> None:
        """Store the store, and how often to look."""
        self._store, self._every = store, every_s
        self._task: asyncio.Task[None] | None = None
        self.state: StoreState | None = None
        """What was seen last; None until the store answers for the first time."""

    async def start(self) -> None:
        """Begin to look; the first look isn't waited for."""
        self._task = asyncio.create_task(self._watch(), name="store-watch")

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while True:
            try:
                self.state = await self._store.state()
            except StoreUnavailableError:
                pass  # the log notices by itself, and counts it
            except Exception:
                _LOGGER.exception("the store's state can't be read")
            await asyncio.sleep(self._every)
