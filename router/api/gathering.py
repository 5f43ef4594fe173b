"""Decides together on the single requests that arrive in one turn of the event loop.

Of a decision alone, more than half goes into calls of array functions that cost the same for one
query as for fifty. A query's decision is the same bits alone and among others, and nobody waits:
what one turn has read from its connections is decided at the beginning of the next.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec

from router.api.deciding import decide_at_once
from router.api.schemas import RouteRequest
from router.services import Services

# Of one turn at most, so that nobody else waits for more than some milliseconds.
MOST = 64

_encoder = msgspec.json.Encoder()


class Asked(Protocol):
    """A request that somebody waits for."""

    @property
    def request(self) -> RouteRequest:
        """What is asked."""

    @property
    def wanted(self) -> bool:
        """Whether its caller is still there."""

    def answer(self, content: bytes) -> None:
        """Take the decision, as JSON."""

    def decline(self) -> None:
        """Be told that nothing was decided or logged; another way has to say why."""


class Gathering:
    """The requests of this turn; for one event loop."""

    def __init__(self, services: Services, most: int = MOST) -> None:
        """Begin; no more than `most` are decided in one turn."""
        self._services = services
        self._most = most
        self._asked: list[Asked] = []

    def add(self, asked: Asked) -> None:
        """Decide on it in the next turn, or the first one after that has room."""
        if not self._asked:
            asyncio.get_running_loop().call_soon(self._decide)
        self._asked.append(asked)

    def _decide(self) -> None:
        together, self._asked = self._asked[: self._most], self._asked[self._most :]
        if self._asked:
            asyncio.get_running_loop().call_soon(self._decide)
        wanted = [asked for asked in together if asked.wanted]
        if wanted:
            self._answer(wanted)

    def _answer(self, asked: Sequence[Asked]) -> None:
        try:
            decisions = decide_at_once([one.request for one in asked], self._services)
            contents = [_encoder.encode(decision.response) for decision in decisions]
        except Exception:
            self._answer_one_by_one(asked)
            return
        for one, content in zip(asked, contents, strict=True):
            one.answer(content)

    def _answer_one_by_one(self, asked: Sequence[Asked]) -> None:
        """What is wrong with one request is no other's fault."""
        if len(asked) == 1:
            asked[0].decline()
            return
        for one in asked:
            self._answer([one])
