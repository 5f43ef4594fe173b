"""POST /v1/route and /v1/route/batch: decide, log, answer."""

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK

from router.api.deciding import decide
from router.api.problem_responses import problems
from router.api.schemas import (
    BatchRequest,
    BatchResponse,
    RouteRequest,
    RouteResponse,
)
from router.api.short_path import ShortPath
from router.auth import Caller, caller_guard
from router.services import Services


class RouteController(Controller):
    """Decisions."""

    path = "/v1/route"
    tags = ("decisions",)
    guards = (caller_guard,)

    @post(
        status_code=HTTP_200_OK,
        summary="Decide how to answer one query",
        responses=problems(400, 401, 403, 408, 413, 503),
        middleware=[ShortPath],
    )
    async def route(
        self,
        data: JSONBody[RouteRequest],
        caller: NamedDependency[Caller],
        services: NamedDependency[Services],
    ) -> RouteResponse:
        """Draw an arm by the serving policy, and log the draw with its propensity."""
        [decision] = await decide([caller.own(data)], services)
        return decision.response

    @post(
        "/batch",
        status_code=HTTP_200_OK,
        summary="Decide on up to 256 queries",
        responses=problems(400, 401, 403, 408, 413, 503),
        middleware=[ShortPath],
    )
    async def route_batch(
        self,
        data: JSONBody[BatchRequest],
        caller: NamedDependency[Caller],
        services: NamedDependency[Services],
    ) -> BatchResponse:
        """Decide on all of them by the same policy, or on none where one is wrong."""
        requests = [
            caller.own(request, field=f"requests[{index}].tenant")
            for index, request in enumerate(data.requests)
        ]
        decisions = await decide(requests, services, in_batch=True)
        return BatchResponse([decision.response for decision in decisions])
