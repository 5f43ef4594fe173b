"""The port for reading the store's events back in order, for what watches them."""

from typing import Literal, NamedTuple, Protocol

from policies.events import Event
from router.log.store import Trace

StreamName = Literal["decisions", "feedback"]


class Entry(NamedTuple):
    """An event and its place in its stream; None for one that this release can't read."""

    position: str
    event: Event | None


class EventReader(Protocol):
    """Reads what an EventStore holds. Every call may block on the network, so use a thread.

    The store's own errors (redis.RedisError, OSError) pass through.
    """

    def start(self, at: float) -> str:
        """A position before everything that is stored from this time on (seconds since the epoch,
        by the store's clock).
        """

    def read(self, stream: StreamName, after: str, limit: int) -> list[Entry]:
        """Up to so many entries after a position, in order: decisions and answers, or feedback."""

    def trace(self, decision_id: str) -> Trace | None:
        """What is stored on a decision; None where nothing is (any more)."""
