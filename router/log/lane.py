"""A queue that knows how far it was worked off."""

import asyncio
from collections import deque
from collections.abc import Sequence

from policies.events import Event


class Lane:
    """Events in order; whoever flushes is told when all that came before is settled.

    For one event loop.
    """

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()
        self._filled = asyncio.Event()
        self._put = 0
        self._settled = 0
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def depth(self) -> int:
        """Events that wait to be taken."""
        return len(self._waiting)

    @property
    def pending(self) -> bool:
        """Whether an event waits, or was taken and isn't settled."""
        return self._settled < self._put

    @property
    def hurried(self) -> bool:
        """Whether somebody waits for a flush, so that batches needn't fill."""
        return bool(self._flushes)

    def put(self, event: Event) -> None:
        """Add one at the end."""
        self._waiting.append(event)
        self._put += 1
        self._filled.set()

    def put_all(self, events: Sequence[Event]) -> None:
        """Add several at the end."""
        self._waiting.extend(events)
        self._put += len(events)
        self._filled.set()

    def wake(self) -> None:
        """Have `wait` look again."""
        self._filled.set()

    async def wait(self, stopping: asyncio.Event) -> bool:
        """Whether there is something to take; False once it is empty and the log stops."""
        while not self._waiting:
            if stopping.is_set():
                return False
            self._filled.clear()
            await self._filled.wait()
        return True

    def take(self, most: int) -> list[Event]:
        """The next events, `most` at most."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def settle(self, count: int) -> None:
        """Say that so many more of the taken events are safe."""
        self._settled += count
        for target, waiter in self._flushes:
            if target <= self._settled and not waiter.done():
                waiter.set_result(None)
        self._flushes = [flush for flush in self._flushes if not flush[1].done()]

    def settled_up_to_now(self) -> asyncio.Future[None]:
        """Done once all events put so far are settled."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushes.append((self._put, waiter))
        return waiter
