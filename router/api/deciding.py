"""What every deciding endpoint does: decide by the serving policy, log, count."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial

from router.answers.errors import NoAnswerError
from router.api.schemas import RouteRequest
from router.deciding.decider import Decision
from router.services import Services

# Beyond this many characters, any encoder would hold the event loop for more than a millisecond.
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
        EncoderBusyError: too many decisions wait for an encoder that is slow.
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
        if hold_the_loop(requests, services):
            decisions = await services.encoding.run(deciding)
        elif in_batch:
            # One batch in each turn of the event loop, so that in between it sees to all else:
            # single queries, and the log, which gets only so many bytes away each turn.
            async with services.batch_turn:
                await asyncio.sleep(0)
                decisions = deciding()
        else:
            decisions = deciding()
    except NoAnswerError as error:
        error.retry_after_s = backends.retry_after_s()
        raise
    _take_note(decisions, services, started)
    return decisions


def decide_at_once(requests: Sequence[RouteRequest], services: Services) -> list[Decision]:
    """One logged decision a request, for callers who don't wait; raises as Decider.decide."""
    started = time.perf_counter()
    unavailable = services.answerer.backends.unavailable()
    decisions = services.decider.decide(requests, services.active.current, unavailable=unavailable)
    _take_note(decisions, services, started)
    return decisions


def hold_the_loop(requests: Sequence[RouteRequest], services: Services) -> bool:
    """Whether encoding these would hold up the event loop, so that it is done beside it."""
    if not services.decider.featurizer.encoder.quick:
        return True
    return sum(map(_characters, requests)) > _ENCODE_OFF_LOOP_CHARS


def _take_note(decisions: Sequence[Decision], services: Services, started: float) -> None:
    events = [decision.event for decision in decisions]
    services.log.record_all(events)
    services.drift.observe(events)
    services.metrics.observe_decisions(events, time.perf_counter() - started)


def _characters(request: RouteRequest) -> int:
    if not request.messages:
        return len(request.query)
    return len(request.query) + sum(len(turn.content) for turn in request.messages)
