"""POST /v1/route and /v1/route/batch: decide, log, answer."""

import asyncio
import time
from collections.abc import Sequence

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK

from router.api.problem_responses import problems
from router.api.schemas import (
    BatchRequest,
    BatchResponse,
    RouteRequest,
    RouteResponse,
)
from router.auth import caller_guard
from router.decider import Decision
from router.services import Services

# Beyond this many characters, encoding would hold the event loop for more than about a millisecond.
_ENCODE_OFF_LOOP_CHARS = 16_384


class RouteController(Controller):
    """Decisions."""

    path = "/v1/route"
    tags = ("decisions",)
    guards = (caller_guard,)

    @post(
        status_code=HTTP_200_OK,
        summary="Decide how to answer one query",
        responses=problems(400, 401, 408, 413),
    )
    async def route(
        self, data: JSONBody[RouteRequest], services: NamedDependency[Services]
    ) -> RouteResponse:
        """Draw an arm by the serving policy, and log the draw with its propensity."""
        [decision] = await _decide([data], services, in_batch=False)
        return decision.response

    @post(
        "/batch",
        status_code=HTTP_200_OK,
        summary="Decide on up to 256 queries",
        responses=problems(400, 401, 408, 413),
    )
    async def route_batch(
        self, data: JSONBody[BatchRequest], services: NamedDependency[Services]
    ) -> BatchResponse:
        """Decide on all of them by the same policy, or on none where one is wrong."""
        decisions = await _decide(data.requests, services, in_batch=True)
        return BatchResponse([decision.response for decision in decisions])


def _characters(request: RouteRequest) -> int:
    return len(request.query) or sum(len(turn.content) for turn in request.messages)


async def _decide(
    requests: Sequence[RouteRequest], services: Services, *, in_batch: bool
) -> list[Decision]:
    started = time.perf_counter()
    serving = services.active.current
    decide = services.decider.decide
    if sum(map(_characters, requests)) > _ENCODE_OFF_LOOP_CHARS:
        decisions = await asyncio.to_thread(decide, requests, serving, in_batch=in_batch)
    else:
        decisions = decide(requests, serving, in_batch=in_batch)
    for decision in decisions:
        services.log.record(decision.event)
    services.metrics.observe_decisions(
        [decision.event for decision in decisions], time.perf_counter() - started
    )
    return decisions
