"""The port to the store of events: appended exactly once, read back by decision."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from policies.events import AnswerFinished, DecisionMade, Event, FeedbackGiven
from router.log.store_state import StoreState


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one decision.

    `decision` is None where only feedback or an answer is left: it was trimmed after an export, or
    is of another log.
    """

    decision_id: str
    decision: DecisionMade | None = None
    answer: AnswerFinished | None = None
    feedback: list[FeedbackGiven] = []


class EventStore(Protocol):
    """Where events end up. Every call may wait on the network, but not for long.

    Each raises StoreUnavailableError where the store doesn't answer in time or refuses.
    """

    async def append(self, events: Sequence[Event]) -> int:
        """Store the events in order, all or none of them; how many were new.

        An event whose `event_key` is stored already isn't stored again, so a batch may be retried
        when nobody knows whether it arrived.
        """

    async def trace(self, decision_id: str) -> Trace | None:
        """What is stored on a decision; None where nothing is."""

    async def remember(self, key: str, fingerprint: str, ttl_s: float) -> str | None:
        """Keep a fingerprint under a key for a while, unless one is kept there already.

        Returns that earlier fingerprint, None where the key is new.
        """

    async def ping(self) -> None:
        """Return if the store takes writes."""

    async def state(self) -> StoreState:
        """How much of the log is in it, and how full it is."""

    async def close(self) -> None:
        """Let go of connections; the store can't be used afterwards."""


def assemble_trace(decision_id: str, events: Iterable[Event]) -> Trace | None:
    """The trace that these events of one decision make; None if there are none."""
    decision: DecisionMade | None = None
    answer: AnswerFinished | None = None
    feedback: list[FeedbackGiven] = []
    for event in events:
        if isinstance(event, DecisionMade):
            decision = event
        elif isinstance(event, AnswerFinished):
            answer = event
        else:
            feedback.append(event)
    if decision is None and answer is None and not feedback:
        return None
    return Trace(decision_id=decision_id, decision=decision, answer=answer, feedback=feedback)
