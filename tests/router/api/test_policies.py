"""/v1/policies: listing, activating, rolling back."""

import msgspec
import numpy as np
import pytest

from policies.artifact import Artifact, Manifest, seal
from policies.encoders import Encoder
from policies.features import Featurizer
from policies.linear_policy import IDENTITY, LinearPolicy
from policies.posterior import Posterior, PosteriorTensors
from policies.registries.memory import MemoryPolicyRegistry
from tests.router.conftest import ADMIN, Service, StartService

ARMS = ["finetuned", "retrieve", "hybrid"]


def always(arm: str, encoder: Encoder, *, arms: list[str] = ARMS, version: str = "") -> Artifact:
    """A policy that expects quality 1 of one arm and 0 of the others."""
    featurizer = Featurizer(encoder)
    manifest = Manifest(
        kind="linear",
        name=f"always {arm}",
        arms=arms,
        metrics=["quality"],
        feature_version=version or featurizer.version,
        created_at="2026-01-01T00:00:00+00:00",
    )
    return LinearPolicy(
        manifest,
        np.zeros((len(arms), 1, featurizer.dimension), dtype=np.float32),
        np.array([[float(name == arm)] for name in arms]),
        np.array([IDENTITY], dtype=np.int8),
    ).artifact()


async def served_version(service: Service) -> str:
    body = (await service.client.post("/v1/route", json={"query": "Who?"})).json()
    return str(body["policy"]["version"])


async def test_a_fresh_service_lists_the_built_in_rules(service: Service) -> None:
    body = (await service.client.get("/v1/policies")).json()
    assert body["serving"]["name"] == "rules"
    assert (body["active"], body["fallback"], body["policies"]) == (None, None, [])
    assert [replica["version"] for replica in body["replicas"]] == [body["serving"]["version"]]


async def test_activating_and_rolling_back_swap_what_serves(
    service: Service, encoder: Encoder
) -> None:
    rules = await served_version(service)
    first, second = always("hybrid", encoder), always("retrieve", encoder)
    for artifact in (first, second):
        service.registry.publish(artifact)
        response = await service.client.post(
            f"/v1/policies/{artifact.version}/activate", headers=ADMIN
        )
        assert response.status_code == 200
        assert response.json()["serving"]["version"] == artifact.version
        assert await served_version(service) == artifact.version
    back = await service.client.post("/v1/policies/rollback", headers=ADMIN)
    assert back.json()["previous"]["version"] == second.version
    assert await served_version(service) == first.version
    await service.client.post("/v1/policies/rollback", headers=ADMIN)
    assert await served_version(service) == rules
    nothing_left = await service.client.post("/v1/policies/rollback", headers=ADMIN)
    assert nothing_left.status_code == 409


async def test_exploration_falls_once_a_policy_is_promoted(
    service: Service, encoder: Encoder
) -> None:
    artifact = always("hybrid", encoder)
    before = (await service.client.post("/v1/route", json={"query": "Tell me"})).json()
    least = min(outlook["probability"] for outlook in before["arms"])
    assert least == pytest.approx(0.3 / 3)
    service.registry.publish(artifact)
    await service.client.post(f"/v1/policies/{artifact.version}/activate", headers=ADMIN)
    after = (await service.client.post("/v1/route", json={"query": "Tell me"})).json()
    least = min(outlook["probability"] for outlook in after["arms"])
    assert 0.05 <= least < 0.1


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
async def test_changing_policies_needs_the_admin_key(
    service: Service, headers: dict[str, str]
) -> None:
    for path in ("/v1/policies/rollback", "/v1/policies/0123456789abcdef/activate"):
        response = await service.client.post(path, headers=headers)
        assert response.status_code == 403
        assert response.json()["type"].endswith(":admin-key-required")
        assert "admin-secret" not in response.text


async def test_without_an_admin_key_nobody_is_admin(start_service: StartService) -> None:
    async with start_service(environ={"RAG_ROUTER_ADMIN_KEY": ""}) as service:
        for headers in ({}, {"Authorization": "Bearer "}, ADMIN):
            response = await service.client.post("/v1/policies/rollback", headers=headers)
            assert response.status_code == 403
            assert "RAG_ROUTER_ADMIN_KEY" in response.json()["detail"]


async def test_an_unknown_version_is_not_found(service: Service) -> None:
    response = await service.client.post("/v1/policies/0123456789abcdef/activate", headers=ADMIN)
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("misfit", "field"),
    [({"arms": ["finetuned", "retrieve"]}, "arms"), ({"version": "static:other"}, "features")],
)
async def test_a_policy_that_does_not_fit_is_refused_and_the_incumbent_stays(
    service: Service, encoder: Encoder, misfit: dict[str, object], field: str
) -> None:
    incumbent = await served_version(service)
    artifact = always("retrieve", encoder, **misfit)  # type: ignore[arg-type]
    service.registry.publish(artifact)
    response = await service.client.post(f"/v1/policies/{artifact.version}/activate", headers=ADMIN)
    assert (response.status_code, response.json()["field"]) == (409, field)
    assert await served_version(service) == incumbent
    assert service.registry.active() is None


@pytest.mark.parametrize(("missing", "noise"), [(1, 0.2), (0, 1e300)])
async def test_a_posterior_that_cannot_be_sampled_from_here_is_refused(
    service: Service, encoder: Encoder, missing: int, noise: float
) -> None:
    """Else every decision that is made by Thompson sampling would fail."""
    plain = always("retrieve", encoder)
    dimension = Featurizer(encoder).dimension - missing
    posterior = PosteriorTensors(
        coefficients=np.zeros((3, 1, dimension), dtype=np.float32),
        intercepts=np.zeros((3, 1)),
        scale=np.ones(dimension, dtype=np.float32),
        centres=np.zeros((3, dimension), dtype=np.float32),
        directions=np.zeros((3, 1, dimension), dtype=np.float32),
        gains=np.zeros((3, 1, 1)),
        remainder=np.full((3, 1), 0.02),
        rows=np.full((3, 1), 100.0),
        noise=np.full((3, 1), noise),
    )
    artifact = seal(plain.manifest, {**plain.tensors, **Posterior(posterior).tensors})
    service.registry.publish(artifact)
    response = await service.client.post(f"/v1/policies/{artifact.version}/activate", headers=ADMIN)
    assert response.status_code == 422
    assert service.registry.active() is None


async def test_a_misfit_made_active_elsewhere_is_refused_and_said_so(
    start_service: StartService, encoder: Encoder
) -> None:
    registry = MemoryPolicyRegistry()
    artifact = always("a", encoder, arms=["a", "b"])
    registry.publish(artifact)
    registry.activate(artifact.version)
    async with start_service(registry=registry) as service:
        body = (await service.client.get("/v1/policies")).json()
        assert body["active"] == artifact.version
        assert body["serving"]["name"] == "rules"
        assert "doesn't know the configured arms" in body["replicas"][0]["refused"]
        assert (
            b"rag_router_policy_refusals_total 1.0"
            in (await service.client.get("/metrics")).content
        )


async def test_a_damaged_artifact_is_refused_and_the_incumbent_stays(
    service: Service, encoder: Encoder
) -> None:
    artifact = always("retrieve", encoder)
    damaged = msgspec.structs.replace(
        artifact, tensors={**artifact.tensors, "intercepts": artifact.tensors["intercepts"] + 1}
    )
    service.registry.publish(damaged)
    response = await service.client.post(f"/v1/policies/{artifact.version}/activate", headers=ADMIN)
    assert response.status_code == 422
    assert "altered" in response.json()["detail"]
    listed = (await service.client.get("/v1/policies")).json()
    assert [policy["version"] for policy in listed["policies"]] == [artifact.version]
    assert listed["serving"]["name"] == "rules"
