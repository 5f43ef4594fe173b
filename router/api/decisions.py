"""GET /v1/decisions/{id}: the whole trace of one decision."""

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from router.api.decision_ids import canonical_decision_id
from router.api.problem_responses import problems
from router.auth import Caller, caller_guard
from router.errors import UnknownDecisionError
from router.log.store import Trace
from router.services import Services


class DecisionController(Controller):
    """Traces."""

    path = "/v1/decisions"
    tags = ("decisions",)
    guards = (caller_guard,)

    @get("/{decision_id:str}", summary="Trace one decision", responses=problems(400, 401, 404, 503))
    async def trace(
        self,
        decision_id: FromPath[str],
        caller: NamedDependency[Caller],
        services: NamedDependency[Services],
    ) -> Trace:
        """The decision, its answer and all feedback on it so far, as the log holds them.

        To a tenant's key, another tenant's decision is as unknown as one that never was.
        """
        canonical = canonical_decision_id(decision_id, field="id")
        trace = await services.log.trace(canonical)
        whose = None if trace is None or trace.decision is None else trace.decision.tenant
        if trace is None or not caller.may_see(whose):
            raise UnknownDecisionError(
                f"no decision {canonical} in the store: unknown, still on its way, or long gone",
                field="id",
            )
        return trace
