"""OpenAI's chat API over the router: POST /v1/chat/completions, and GET /v1/models."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK

from policies.arms import did_you_mean
from policies.errors import PolicyError
from router.answers.answer import Answered, AnswerPart, Order, Taken
from router.api.answer import decide_to_answer, whole_answer
from router.api.connection import ClosedByDeadline, while_connected
from router.api.decision_ids import COMPLETION_PREFIX
from router.api.problem_responses import problems
from router.api.schemas import (
    AnswerNotes,
    ChatRequest,
    ChatRouting,
    Model,
    ModelList,
    RouteRequest,
    StreamOptions,
)
from router.auth import Caller, caller_guard
from router.deciding.conversation import routed_query
from router.deciding.decider import Decision
from router.errors import BadRequestError, UnknownModelError
from router.models.model_server import Chunk
from router.problems import field_of, openai_error
from router.services import Services

_log = logging.getLogger(__name__)
_OWN_FIELDS = frozenset(field.name for field in msgspec.structs.fields(ChatRequest))
# The names' date of birth, which OpenAI's clients want to see.
_CREATED = 1_735_689_600
_DONE = b"data: [DONE]\n\n"


class ChatController(Controller):
    """OpenAI's chat API; `model` is `auto`, `auto:OBJECTIVE` or `arm:NAME`."""

    path = "/v1"
    tags = ("answers",)
    guards = (caller_guard,)

    @post(
        "/chat/completions",
        status_code=HTTP_200_OK,
        summary="OpenAI's chat completions",
        responses=problems(400, 401, 403, 404, 408, 413, 501, 503),
    )
    async def complete(
        self,
        data: JSONBody[dict[str, Any]],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        services: NamedDependency[Services],
    ) -> Response[Any]:
        """Decide on the conversation and answer it; other fields than the router's pass through."""
        started = asyncio.get_running_loop().time()
        chat = _chat_request(data)
        asked = caller.own(_route_request(chat, services), field="router.tenant")
        decision, probes = await decide_to_answer(asked, services)
        parameters = {name: value for name, value in data.items() if name not in _OWN_FIELDS}
        streamed = bool(chat.stream)
        order = Order(decision, chat.messages, parameters, started, probes, streamed=streamed)
        async with while_connected(request):
            if streamed:
                return await _streamed(services, order, chat.stream_options)
            builder, answered = await whole_answer(services, order)
        completion = {**builder.completion(), **_extras(answered), "usage": answered.usage}
        return Response(
            msgspec.json.encode({**completion, "id": _completion_id(decision)}),
            media_type="application/json",
            headers=_headers(decision, answered.event.executed_arm),
        )

    @get("/models", summary="The names that `model` may have", responses=problems(401))
    async def list_models(self, services: NamedDependency[Services]) -> ModelList:
        """`auto`, each objective, and each arm that can answer."""
        return ModelList(data=[Model(id=name, created=_CREATED) for name in _names(services)])

    @get("/models/{name:str}", summary="One of these names", responses=problems(401, 404))
    async def model(self, name: FromPath[str], services: NamedDependency[Services]) -> Model:
        """The name, if there is one."""
        _require_known(name, services)
        return Model(id=name, created=_CREATED)


def _chat_request(body: dict[str, Any]) -> ChatRequest:
    try:
        chat = msgspec.convert(body, ChatRequest)
    except msgspec.ValidationError as error:
        raise BadRequestError(str(error), field=field_of(str(error))) from error
    for index, message in enumerate(chat.messages):
        if not isinstance(message.get("role"), str):
            raise BadRequestError("a message needs a role", field=f"messages[{index}].role")
    if not isinstance(body.get("response_format") or {}, dict):
        raise BadRequestError("response_format must be an object", field="response_format")
    return chat


def _route_request(chat: ChatRequest, services: Services) -> RouteRequest:
    """What `model` and `router` ask for, as a request for a decision."""
    query = routed_query(chat.messages)
    if not query:
        raise BadRequestError("no user turn has text to route on", field="messages")
    _require_known(chat.model, services)
    asked: ChatRouting = chat.router
    kind, _, name = chat.model.partition(":")
    if kind == "arm" and asked.arms is not None:
        raise BadRequestError("`model` names an arm already", field="router.arms")
    if kind == "auto" and name and asked.objective is not None:
        raise BadRequestError("`model` names an objective already", field="router.objective")
    return RouteRequest(
        query=query,
        attributes=asked.attributes,
        tenant=asked.tenant,
        objective=name if kind == "auto" and name else asked.objective,
        arms=[name] if kind == "arm" else asked.arms,
        explore=asked.explore,
    )


def _names(services: Services) -> list[str]:
    unequipped = services.answerer.backends.unequipped
    return [
        "auto",
        *(f"auto:{name}" for name in services.settings.all_objectives()),
        *(f"arm:{arm.name}" for arm in services.decider.arms if arm.name not in unequipped),
    ]


def _require_known(name: str, services: Services) -> None:
    known = _names(services)
    if name not in known:
        raise UnknownModelError(
            f"no model {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}",
            field="model",
        )


async def _streamed(
    services: Services, order: Order, options: StreamOptions | None
) -> Response[Any]:
    """The response, once the first chunk is there: until then an error has a status of its own."""
    parts = services.answerer.answer(order)
    taken = await anext(parts)
    assert isinstance(taken, Taken), "an answer begins with the arm that gives it"
    headers = {
        **_headers(order.decision, taken.arm),
        "cache-control": "no-cache",
        # Proxies that would gather the stream are asked not to.
        "x-accel-buffering": "no",
    }
    closing = ClosedByDeadline(parts, order.started + services.settings.answers.deadline_s)
    wants_usage = options is not None and options.include_usage
    events = _events(parts, order.decision, closing, wants_usage=wants_usage)
    return Stream(events, media_type="text/event-stream", headers=headers)


async def _events(
    parts: AsyncGenerator[AnswerPart, None],
    decision: Decision,
    closing: ClosedByDeadline,
    *,
    wants_usage: bool,
) -> AsyncGenerator[bytes, None]:
    """Server-sent events; the last chunk, which carries the sources, waits for the end."""
    last: Chunk | None = None
    ended = False
    completion_id = _completion_id(decision)
    try:
        async with closing:
            async for part in parts:
                if isinstance(part, Answered):
                    ended = True
                    for event in _ending(last, part, completion_id, wants_usage=wants_usage):
                        yield event
                elif not isinstance(part, Taken) and part.get("choices"):
                    if last is not None:
                        yield _event(last)
                    part["id"] = completion_id
                    part.pop("usage", None)
                    last = part if _is_last(part) else None
                    if last is None:
                        yield _event(part)
    except PolicyError as error:
        # The status is out already; OpenAI's clients raise what stands in `error`.
        yield _event({"error": openai_error(error.status, error.kind, str(error), error.field)})
    except Exception:
        _log.exception("an answer under way failed unexpectedly")
        yield _event({"error": openai_error(500, "internal", "an unexpected error", None)})
    else:
        if not ended:
            late = "the answer wasn't taken within its deadline"
            yield _event({"error": openai_error(503, "too-late", late, None)})
    yield _DONE


def _ending(
    last: Chunk | None, answered: Answered, completion_id: str, *, wants_usage: bool
) -> list[bytes]:
    last = last or {"object": "chat.completion.chunk", "created": 0, "model": "", "choices": []}
    last = {**last, "id": completion_id}
    if not wants_usage:
        return [_event({**last, **_extras(answered)})]
    counted = {**last, "choices": [], "usage": answered.usage, **_extras(answered)}
    return [_event(last), _event(counted)] if last["choices"] else [_event(counted)]


def _is_last(chunk: Chunk) -> bool:
    return any(choice.get("finish_reason") for choice in chunk["choices"])


def _extras(answered: Answered) -> dict[str, Any]:
    return {
        "sources": answered.sources,
        "router": AnswerNotes(
            decision_id=answered.event.decision_id,
            arm=answered.event.executed_arm,
            degraded_from=answered.degraded_from,
            citations=answered.citations,
            metrics=answered.event.metrics,
            notes=answered.notes,
        ),
    }


def _event(chunk: object) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _completion_id(decision: Decision) -> str:
    return f"{COMPLETION_PREFIX}{decision.event.decision_id}"


def _headers(decision: Decision, arm: str) -> dict[str, str]:
    headers = {"x-decision-id": decision.event.decision_id, "x-arm": arm}
    return {**headers, "x-audit": "true"} if decision.event.audit else headers
