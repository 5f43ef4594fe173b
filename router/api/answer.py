"""POST /v1/answer: decide, carry the decision out, answer with sources."""

import asyncio
from typing import Any

from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK

from router.answers.answer import Answered, Order, Taken
from router.answers.breakers import Breaker
from router.answers.errors import NoModelsError
from router.api.connection import while_connected
from router.api.deciding import decide
from router.api.problem_responses import problems
from router.api.schemas import AnswerRequest, AnswerResponse, RouteRequest
from router.auth import Caller, caller_guard
from router.deciding.decider import Decision
from router.models.completion import CompletionBuilder
from router.services import Services


class AnswerController(Controller):
    """Answers."""

    path = "/v1/answer"
    tags = ("answers",)
    guards = (caller_guard,)

    @post(
        status_code=HTTP_200_OK,
        summary="Decide how to answer one query, and answer it",
        responses=problems(400, 401, 403, 408, 413, 501, 503),
    )
    async def answer(
        self,
        data: JSONBody[AnswerRequest],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        services: NamedDependency[Services],
    ) -> AnswerResponse:
        """Take the drawn arm, or the best remaining one where it fails, and say which."""
        started = asyncio.get_running_loop().time()
        decision, probes = await decide_to_answer(caller.own(data), services)
        order = Order(decision, data.conversation, data.parameters, started, probes)
        async with while_connected(request):
            builder, answered = await whole_answer(services, order)
        decided = decision.response
        executed = answered.event.executed_arm
        fields = {field: getattr(decided, field) for field in decided.__struct_fields__}
        fields |= {
            "arm": executed,
            "route": next(arm.route for arm in decided.arms if arm.arm == executed),
            "reasons": [*decided.reasons, *answered.notes],
        }
        return AnswerResponse(
            **fields,
            answer=builder.text,
            finish_reason=builder.finish_reason,
            sources=answered.sources,
            citations=answered.citations,
            usage=answered.usage,
            metrics=answered.event.metrics,
            degraded_from=answered.degraded_from,
        )


async def decide_to_answer(
    request: RouteRequest, services: Services
) -> tuple[Decision, list[Breaker]]:
    """One decision among the arms that have something to answer with, and the probes it reserves.

    Raises:
        NoModelsError: none of those that may be taken has.
        PolicyError: as `decide`.
    """
    backends = services.answerer.backends
    arms = {arm.name for arm in services.decider.arms}
    wanted = arms if request.arms is None else arms & set(request.arms)
    if wanted and wanted <= backends.unequipped.keys():
        reasons = "; ".join(f"{name}: {backends.unequipped[name]}" for name in sorted(wanted))
        raise NoModelsError(
            f"these arms only decide ({reasons}): configure [models.NAME] and name it in the arm's "
            "`model`, and a [retrievers.NAME] in its `retriever` where it retrieves"
        )
    [decision] = await decide([request], services, unequipped=backends.unequipped)
    return decision, backends.reserve(decision.event.arm)


async def whole_answer(services: Services, order: Order) -> tuple[CompletionBuilder, Answered]:
    """The answer as a whole; raises as Answerer.answer does."""
    builder = CompletionBuilder()
    async for part in services.answerer.answer(order):
        if isinstance(part, Answered):
            return builder, part
        if not isinstance(part, Taken):
            builder.add(part)
    raise AssertionError("an answer ends with how it went")
