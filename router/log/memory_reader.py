"""Reads the store in memory: the twin for unit tests and throw-away runs."""

from policies.events import FeedbackGiven
from router.log.event_reader import Entry, StreamName
from router.log.memory_store import MemoryEventStore
from router.log.store import Trace, assemble_trace


class MemoryEventReader:
    """Positions count the store's events; it doesn't know when they came, so all are read."""

    def __init__(self, store: MemoryEventStore) -> None:
        self._store = store

    def start(self, at: float) -> str:  # noqa: ARG002
        return "0"

    def read(self, stream: StreamName, after: str, limit: int) -> list[Entry]:
        entries = [
            Entry(str(number), event)
            for number, event in enumerate(self._store.events, start=1)
            if isinstance(event, FeedbackGiven) == (stream == "feedback")
        ]
        return [entry for entry in entries if int(entry.position) > int(after)][:limit]

    def trace(self, decision_id: str) -> Trace | None:
        events = [event for event in self._store.events if event.decision_id == decision_id]
        return assemble_trace(decision_id, events)
