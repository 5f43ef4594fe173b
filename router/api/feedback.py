"""POST /v1/feedback: accepted once it is durable, whatever the decision's age."""

import math
import time
from hashlib import sha256
from typing import Annotated
from uuid import UUID, uuid5

import msgspec
import uuid_utils
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, JSONBody
from litestar.status_codes import HTTP_202_ACCEPTED

from policies.events import FeedbackGiven
from policies.query import loggable_text
from router.api.schemas import MAX_BATCH, Feedback, FeedbackReceipt
from router.auth import caller_guard
from router.errors import BadRequestError, IdempotencyConflictError
from router.log.errors import StoreUnavailableError
from router.services import Services

# Namespace of the feedback ids that an Idempotency-Key gives rise to.
_IDEMPOTENT_IDS = UUID("0b9d0f7e-6a0c-4e0f-9c59-6d0c6d9a2b11")
_REMEMBERED_S = 7 * 24 * 3600.0


class FeedbackController(Controller):
    """Feedback on decisions."""

    path = "/v1/feedback"
    tags = ("feedback",)
    guards = (caller_guard,)

    @post(status_code=HTTP_202_ACCEPTED, summary="Report metrics of decisions")
    async def give_feedback(
        self,
        data: JSONBody[Feedback | list[Feedback]],
        services: NamedDependency[Services],
        idempotency_key: Annotated[
            str | None, HeaderParameter(name="Idempotency-Key", min_length=1, max_length=256)
        ] = None,
    ) -> FeedbackReceipt:
        """Append one value, or a list; a retry with the same Idempotency-Key adds nothing."""
        values = data if isinstance(data, list) else [data]
        if not 1 <= len(values) <= MAX_BATCH:
            raise BadRequestError(f"give 1 to {MAX_BATCH} values, not {len(values)}")
        for index, value in enumerate(values):
            _check(value, f"[{index}]." if isinstance(data, list) else "")
        if idempotency_key is not None:
            await _check_same_body(idempotency_key, values, services)
        events = [
            _event(value, _feedback_id(idempotency_key, index), services)
            for index, value in enumerate(values)
        ]
        appended = await services.log.append(events)
        services.metrics.observe_feedback(events)
        return FeedbackReceipt(
            accepted=len(events),
            duplicates=None if appended.new is None else len(events) - appended.new,
            feedback_ids=[event.feedback_id for event in events],
            durable_in=appended.where,
        )


def _check(value: Feedback, where: str) -> None:
    try:
        UUID(value.decision_id)
    except ValueError as error:
        raise BadRequestError(
            f"{value.decision_id!r} is no decision id", field=f"{where}decision_id"
        ) from error
    if not math.isfinite(value.value):
        raise BadRequestError("the value must be finite", field=f"{where}value")
    if value.metric == "quality" and not 0.0 <= value.value <= 1.0:
        raise BadRequestError(
            f"quality lies between 0 and 1, not at {value.value}", field=f"{where}value"
        )


async def _check_same_body(key: str, values: list[Feedback], services: Services) -> None:
    fingerprint = sha256(msgspec.json.encode(values)).hexdigest()
    try:
        earlier = await services.log.remember(f"feedback:{key}", fingerprint, _REMEMBERED_S)
    except StoreUnavailableError:
        return  # taken all the same: ids made from the key keep a retry from counting twice
    if earlier is not None and earlier != fingerprint:
        raise IdempotencyConflictError(
            "this Idempotency-Key was used for other feedback: use a new one",
            field="Idempotency-Key",
        )


def _feedback_id(idempotency_key: str | None, index: int) -> str:
    if idempotency_key is None:
        return str(uuid_utils.uuid7())
    return str(uuid5(_IDEMPOTENT_IDS, f"{index}:{idempotency_key}"))


def _event(value: Feedback, feedback_id: str, services: Services) -> FeedbackGiven:
    text = services.settings.log.text
    return FeedbackGiven(
        feedback_id=feedback_id,
        # The canonical spelling, so that feedback joins however the client wrote the id.
        decision_id=str(UUID(value.decision_id)),
        metric=value.metric,
        value=value.value,
        at=time.time(),
        source=value.source,
        comment=loggable_text(value.comment, text),
        demonstration=loggable_text(value.demonstration, text),
    )
