"""/v1/policies: what serves, what else there is, and changing it (admin key)."""

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK

from policies.rollout import Rollout, WatchReport, check_canary_share
from router.api.problem_responses import problems
from router.api.schemas import (
    Activated,
    CanaryRequest,
    PolicyList,
    PolicyReference,
    PolicySummary,
    ReplicaSummary,
    RolloutSummary,
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
        """What serves, the candidate beside it, all stored policies and all replicas."""
        survey = await services.watcher.survey()
        active, serving = survey.active, services.active.current
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
                for manifest in survey.manifests
            ],
            replicas=[
                ReplicaSummary(
                    replica=r.replica,
                    version=r.version,
                    refused=r.refused,
                    candidate=r.candidate,
                    candidate_refused=r.candidate_refused,
                )
                for r in survey.replicas
            ],
            rollout=_summary(survey.rollout, survey.report) if survey.rollout else None,
            past_rollouts=survey.past_rollouts,
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
        "/{version:str}/shadow",
        guards=[admin_guard],
        status_code=HTTP_200_OK,
        summary="Log what a stored policy would draw, on every replica",
        responses=problems(403, 404, 409, 422, 503),
    )
    async def shadow(
        self, version: FromPath[str], services: NamedDependency[Services]
    ) -> RolloutSummary:
        """Check that the policy fits, and log its probabilities beside the incumbent's draws."""
        return _summary(await services.watcher.roll_out(version, 0.0), None)

    @post(
        "/{version:str}/canary",
        guards=[admin_guard],
        status_code=HTTP_200_OK,
        summary="Give a stored policy a share of the draws, on every replica",
        responses=problems(400, 403, 404, 409, 422, 503),
    )
    async def canary(
        self,
        version: FromPath[str],
        data: JSONBody[CanaryRequest],
        services: NamedDependency[Services],
    ) -> RolloutSummary:
        """Check that the policy fits, and draw from the mixture of both from now on."""
        check_canary_share(data.share)
        return _summary(await services.watcher.roll_out(version, data.share), None)

    @post(
        "/rollback",
        guards=[admin_guard],
        status_code=HTTP_200_OK,
        summary="End the rollout, or serve the policy before this one, on every replica",
        responses=problems(403, 409, 503),
    )
    async def rollback(self, services: NamedDependency[Services]) -> Activated:
        """End the shadow or canary; without one, take back the last activation."""
        previous, ended = await services.watcher.rollback()
        return Activated(_reference(services.active.current), _reference(previous), ended)


def _summary(rollout: Rollout, report: WatchReport | None) -> RolloutSummary:
    found = report if report is not None and report.key == rollout.key else None
    return RolloutSummary(
        version=rollout.version,
        stage=rollout.stage,
        share=rollout.share,
        began=rollout.began,
        at=rollout.at,
        incumbent=rollout.incumbent,
        by=rollout.by,
        note=rollout.note,
        verdict=found.verdict if found else None,
        metrics=found.metrics if found else [],
    )


def _reference(serving: ServingPolicy) -> PolicyReference:
    return PolicyReference(serving.policy.name, serving.policy.version)
