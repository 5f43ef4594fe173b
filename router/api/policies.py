"""/v1/policies: what serves, what else there is, and changing it (admin key)."""

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.status_codes import HTTP_200_OK

from router.api.problem_responses import problems
from router.api.schemas import (
    Activated,
    PolicyList,
    PolicyReference,
    PolicySummary,
    ReplicaSummary,
)
from router.auth import admin_guard, caller_guard
from router.services import Services
from router.serving_policy import ServingPolicy


class PolicyController(Controller):
    """Policies."""

    path = "/v1/policies"
    tags = ("policies",)

    @get(guards=[caller_guard], summary="List policies", responses=problems(401, 503))
    async def list_policies(self, services: NamedDependency[Services]) -> PolicyList:
        """What this replica serves, the active version, all stored policies and all replicas."""
        manifests, active, replicas = await services.watcher.survey()
        serving = services.active.current
        return PolicyList(
            serving=_reference(serving),
            active=active.version if active else None,
            fallback=serving.fallback,
            policies=[
                PolicySummary(
                    version=manifest.version,
                    name=manifest.name,
                    kind=manifest.kind,
                    created_at=manifest.created_at,
                    arms=manifest.arms,
                    metrics=manifest.metrics,
                    active=active is not None and manifest.version == active.version,
                )
                for manifest in manifests
            ],
            replicas=[
                ReplicaSummary(replica=r.replica, version=r.version, refused=r.refused)
                for r in replicas
            ],
        )

    @post(
        "/{version:str}/activate",
        guards=[admin_guard],
        status_code=HTTP_200_OK,
        summary="Serve a stored policy on every replica",
        responses=problems(403, 404, 409, 422, 503),
    )
    async def activate(
        self, version: FromPath[str], services: NamedDependency[Services]
    ) -> Activated:
        """Check that the policy fits, make it active, and swap to it here at once."""
        previous = await services.watcher.activate(version)
        return Activated(_reference(services.active.current), _reference(previous))

    @post(
        "/rollback",
        guards=[admin_guard],
        status_code=HTTP_200_OK,
        summary="Serve the policy before this one on every replica",
        responses=problems(403, 409, 503),
    )
    async def rollback(self, services: NamedDependency[Services]) -> Activated:
        """Take back the last activation; the same swap, the other way."""
        previous = await services.watcher.rollback()
        return Activated(_reference(services.active.current), _reference(previous))


def _reference(serving: ServingPolicy) -> PolicyReference:
    return PolicyReference(serving.policy.name, serving.policy.version)
