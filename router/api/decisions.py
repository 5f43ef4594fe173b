"""GET /v1/decisions/{id}: the whole trace of one decision."""

from uuid import UUID

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from router.auth import caller_guard
from router.errors import BadRequestError, UnknownDecisionError
from router.log.store import Trace
from router.services import Services


class DecisionController(Controller):
    """Traces."""

    path = "/v1/decisions"
    tags = ("decisions",)
    guards = (caller_guard,)

    @get("/{decision_id:str}", summary="Trace one decision")
    async def trace(self, decision_id: FromPath[str], services: NamedDependency[Services]) -> Trace:
        """The decision, its answer and all feedback on it so far, as the log holds them."""
        try:
            canonical = str(UUID(decision_id))
        except ValueError as error:
            raise BadRequestError(f"{decision_id!r} is no decision id", field="id") from error
        trace = await services.log.trace(canonical)
        if trace is None:
            raise UnknownDecisionError(
                f"no decision {canonical} in the log; old ones leave it once exported and trimmed",
                field="id",
            )
        return trace
