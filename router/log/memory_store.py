"""The store of events in memory: the twin for unit tests and throw-away runs."""

import time
from collections.abc import Callable, Sequence

from policies.events import Event, FeedbackGiven, event_key
from router.log.store import Trace, assemble_trace
from router.log.store_state import StoreState


class MemoryEventStore:
    """Keeps events until the process ends."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.events: list[Event] = []
        """Everything stored, in order."""
        self._clock = clock
        self._by_decision: dict[str, dict[str, Event]] = {}
        self._remembered: dict[str, tuple[str, float]] = {}

    async def append(self, events: Sequence[Event]) -> int:
        new = 0
        for event in events:
            decision_id, unique = event_key(event)
            stored = self._by_decision.setdefault(decision_id, {})
            if unique not in stored:
                stored[unique] = event
                self.events.append(event)
                new += 1
        return new

    async def trace(self, decision_id: str) -> Trace | None:
        return assemble_trace(decision_id, self._by_decision.get(decision_id, {}).values())

    async def remember(self, key: str, fingerprint: str, ttl_s: float) -> str | None:
        now = self._clock()
        earlier, expires = self._remembered.get(key, ("", now))
        if expires > now:
            return earlier
        self._remembered[key] = (fingerprint, now + ttl_s)
        return None

    async def ping(self) -> None:
        return

    async def state(self) -> StoreState:
        feedback = sum(isinstance(event, FeedbackGiven) for event in self.events)
        return StoreState(decisions=len(self.events) - feedback, feedback=feedback)

    async def close(self) -> None:
        return
