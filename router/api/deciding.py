"""What every deciding endpoint does: decide by the serving policy, log, count."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial

from router.answers.errors import NoAnswerError
from router.api.schemas import RouteRequest
from router.deciding.decider import Decision
from router.services import Services

# Beyond this many characters, encoding would hold the event loop for more than about a millisecond.
_ENCODE_OFF_LOOP_CHARS = 16_384


async def decide(
    requests: Sequence[RouteRequest],
    services: Services,
    *,
    in_batch: bool = False,
    unequipped: Mapping[str, str] = {},
) -> list[Decision]:
    """One logged decision a request.

    Arms whose model or retriever is left alone for now are masked, and those in `unequipped`.

    Raises:
        PolicyError: as Decider.decide.
    """
    started = time.perf_counter()
    backends = services.answerer.backends
    serving = services.active.current
    unavailable = {**unequipped, **backends.unavailable()}
    deciding = partial(
        services.decider.decide, requests, serving, in_batch=in_batch, unavailable=unavailable
    )
    try:
        if sum(map(_characters, requests)) > _ENCODE_OFF_LOOP_CHARS:
            decisions = await asyncio.to_thread(deciding)
        else:
            decisions = deciding()
    except NoAnswerError as error:
        error.retry_after_s = backends.retry_after_s()
        raise
    for decision in decisions:
        services.log.record(decision.event)
    events = [decision.event for decision in decisions]
    services.drift.observe(events)
    services.metrics.observe_decisions(events, time.perf_counter() - started)
    return decisions


def _characters(request: RouteRequest) -> int:
    return len(request.query) + sum(len(turn.content) for turn in request.messages)
