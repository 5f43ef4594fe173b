"""What is asked of an answer, and what it came to."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from policies.events import AnswerFinished
from router.answers.breakers import Breaker
from router.api.schemas import Citations, Source, Usage
from router.deciding.conversation import ChatMessage
from router.deciding.decider import Decision
from router.models.model_server import Chunk


class Order(NamedTuple):
    """A decision to carry out.

    `parameters` are generation parameters as the model's server takes them. `streamed`: chunks are
    wanted as they come, so they can't be taken back. `started` is the loop's time at which the
    request came in. `probes` are the half-open breakers that the decision has reserved.
    """

    decision: Decision
    messages: list[ChatMessage]
    parameters: dict[str, Any]
    started: float
    probes: Sequence[Breaker] = ()
    streamed: bool = False

    @property
    def is_text(self) -> bool:
        """Whether plain text is wanted, not JSON."""
        form = self.parameters.get("response_format") or {}
        return bool(form.get("type", "text") == "text")


class Taken(NamedTuple):
    """An arm has begun to answer; comes before the first chunk of each that does."""

    arm: str


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """How it went: told to the caller, and logged."""

    event: AnswerFinished
    degraded_from: str | None
    sources: list[Source]
    citations: Citations
    usage: Usage
    notes: list[str]


AnswerPart = Taken | Chunk | Answered
