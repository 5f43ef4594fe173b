"""POST /v1/feedback: accepted once it is durable, whatever the decision's age."""

import time
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID, uuid5

import msgspec
import uuid_utils
from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, JSONBody
from litestar.status_codes import HTTP_202_ACCEPTED
from msgspec import Meta

from policies.events import FeedbackGiven
from policies.query import loggable_text
from router.api.decision_ids import canonical_decision_id
from router.api.problem_responses import problems
from router.api.schemas import MAX_BATCH, Feedback, FeedbackReceipt
from router.auth import caller_guard
from router.errors import BadRequestError, IdempotencyConflictError
from router.log.errors import StoreUnavailableError
from router.services import Services

# Namespace of the feedback ids that an Idempotency-Key gives rise to.
_IDEMPOTENT_IDS = UUID("0b9d0f7e-6a0c-4e0f-9c59-6d0c6d9a2b11")
# One larger value would outweigh all others in any fit.
MAX_VALUE = 1e9
_REMEMBERED_S = 7 * 24 * 3600.0


class FeedbackController(Controller):
    """Feedback on decisions."""

    path = "/v1/feedback"
    tags = ("feedback",)
    guards = (caller_guard,)

    @post(
        status_code=HTTP_202_ACCEPTED,
        summary="Report metrics of decisions",
        responses=problems(400, 401, 408, 413, 422, 503),
    )
    async def give_feedback(
        self,
        data: JSONBody[
            Feedback | Annotated[list[Feedback], Meta(min_length=1, max_length=MAX_BATCH)]
        ],
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        idempotency_key: Annotated[
            str | None, HeaderParameter(name="Idempotency-Key", min_length=1, max_length=256)
        ] = None,
    ) -> FeedbackReceipt:
        """Append one value, or a list; a retry with the same Idempotency-Key adds nothing."""
        values = data if isinstance(data, list) else [data]
        events = [
            _event(value, f"[{index}]." if isinstance(data, list) else "", services)
            for index, value in enumerate(values)
        ]
        if idempotency_key is not None:
            # Two callers may use the same key; what tells them apart isn't kept in the clear.
            caller = sha256(request.headers.get("authorization", "").encode()).hexdigest()
            scope = f"{caller}:{idempotency_key}"
            await _check_same_body(scope, values, services)
            events = [_with_idempotent_id(event, scope, i) for i, event in enumerate(events)]
        appended = await services.log.append(events)
        services.metrics.observe_feedback(events)
        for event in events:
            services.decider.budgets.measured(event.decision_id, {event.metric: event.value})
        return FeedbackReceipt(
            accepted=len(events),
            duplicates=None if appended.new is None else len(events) - appended.new,
            feedback_ids=[event.feedback_id for event in events],
            durable_in=appended.where,
        )


async def _check_same_body(scope: str, values: list[Feedback], services: Services) -> None:
    fingerprint = sha256(msgspec.json.encode(values)).hexdigest()
    # No longer than the index that recognises the retry itself.
    remembered_s = min(_REMEMBERED_S, services.settings.redis.trace_hours * 3600)
    try:
        earlier = await services.log.remember(f"feedback:{scope}", fingerprint, remembered_s)
    except StoreUnavailableError:
        return  # taken all the same: ids made from the key keep a retry from counting twice
    if earlier is not None and earlier != fingerprint:
        raise IdempotencyConflictError(
            "this Idempotency-Key was used for other feedback: use a new one",
            field="Idempotency-Key",
        )


def _with_idempotent_id(event: FeedbackGiven, scope: str, index: int) -> FeedbackGiven:
    """The event with an id that a retry gives again, and other feedback never does."""
    name = f"{scope}:{index}:{event.decision_id}:{event.metric}"
    return msgspec.structs.replace(event, feedback_id=str(uuid5(_IDEMPOTENT_IDS, name)))


def _event(value: Feedback, where: str, services: Services) -> FeedbackGiven:
    if not abs(value.value) <= MAX_VALUE:  # NaN compares false
        raise BadRequestError(
            f"the value must be finite and at most {MAX_VALUE:g} in size", field=f"{where}value"
        )
    if value.metric == "quality" and not 0.0 <= value.value <= 1.0:
        raise BadRequestError(
            f"quality lies between 0 and 1, not at {value.value}", field=f"{where}value"
        )
    if value.metric in ("cost_usd", "latency_s") and value.value < 0.0:
        raise BadRequestError(
            f"{value.metric} can't be negative, as {value.value} is", field=f"{where}value"
        )
    text = services.settings.log.text
    return FeedbackGiven(
        feedback_id=str(uuid_utils.uuid7()),
        decision_id=canonical_decision_id(value.decision_id, field=f"{where}decision_id"),
        metric=value.metric,
        value=value.value,
        at=time.time(),
        source=value.source,
        comment=loggable_text(value.comment, text),
        demonstration=loggable_text(value.demonstration, text),
    )
