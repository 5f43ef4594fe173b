"""Queries that the serving policy doesn't know: flagged, kept to the safe arm, counted."""

from typing import Any

import msgspec
import pytest

from policies.artifact import Artifact
from policies.encoders import Encoder
from policies.features import Featurizer
from policies.loading import load_policy
from policies.registries.memory import MemoryPolicyRegistry
from policies.settings import ArmSettings, OutOfDistributionSettings
from router.settings import DriftSettings, Settings
from tests.router.api.test_policies import always
from tests.router.conftest import Service, StartService
from tests.training.worlds import outcome_rows
from training.fit.known_queries import with_known_queries

KNOWN = "When was train item 40 founded, and by whom?"
FOREIGN = "SELECT name FROM users WHERE id = 3;"


def settings(safe_arm: str | None, alpha: float = 0.01) -> Settings:
    return Settings(out_of_distribution=OutOfDistributionSettings(alpha=alpha, safe_arm=safe_arm))


@pytest.fixture
def trained(encoder: Encoder) -> Artifact:
    """A policy that prefers hybrid and knows the training questions of a small world."""
    features = Featurizer(encoder).features([row["query"] for row in outcome_rows(800, 0)])
    policy = load_policy(always("hybrid", encoder))
    return with_known_queries(policy, features, 0).artifact()


@pytest.fixture
def registry(trained: Artifact) -> MemoryPolicyRegistry:
    registry = MemoryPolicyRegistry()
    registry.publish(trained)
    registry.activate(trained.version, by="test")
    return registry


async def routed(service: Service, query: str, **more: object) -> dict[str, Any]:
    response = await service.client.post("/v1/route", json={"query": query, **more})
    assert response.status_code == 200
    body: dict[str, Any] = response.json()
    return body


async def logged(service: Service, body: dict[str, Any]) -> dict[str, Any]:
    trace = (await service.client.get(f"/v1/decisions/{body['decision_id']}")).json()
    event: dict[str, Any] = trace["decision"]
    return event


async def test_a_foreign_query_takes_the_safe_arm_with_certainty(
    start_service: StartService, registry: MemoryPolicyRegistry
) -> None:
    async with start_service(settings("retrieve"), registry=registry) as service:
        body = await routed(service, FOREIGN)
        assert (body["arm"], body["propensity"], body["explored"]) == ("retrieve", 1.0, False)
        why = {outlook["arm"]: outlook.get("why_not") for outlook in body["arms"]}
        assert why["retrieve"] is None
        assert why["hybrid"] == "out of distribution: retrieve is the safe arm"
        assert any("kept to the safe arm retrieve" in reason for reason in body["reasons"])
        event = await logged(service, body)
        assert event["out_of_distribution"] is True
        assert event["eligible"] == ["retrieve"]


async def test_a_known_query_is_decided_as_ever(
    start_service: StartService, registry: MemoryPolicyRegistry
) -> None:
    async with start_service(settings("retrieve"), registry=registry) as service:
        body = await routed(service, KNOWN)
        assert all(outlook["eligible"] for outlook in body["arms"])
        assert not any("out of distribution" in reason for reason in body["reasons"])
        assert not (await logged(service, body)).get("out_of_distribution")


async def test_without_a_safe_arm_it_is_flagged_and_nothing_else(
    start_service: StartService, registry: MemoryPolicyRegistry
) -> None:
    async with start_service(settings(None), registry=registry) as service:
        body = await routed(service, FOREIGN)
        assert all(outlook["eligible"] for outlook in body["arms"])
        assert any("out of distribution" in reason for reason in body["reasons"])
        assert (await logged(service, body))["out_of_distribution"] is True


async def test_a_safe_arm_that_may_not_be_taken_is_said_so(
    start_service: StartService, registry: MemoryPolicyRegistry
) -> None:
    async with start_service(settings("finetuned"), registry=registry) as service:
        body = await routed(service, FOREIGN, attributes={"require_sources": True})
        eligible = [o["arm"] for o in body["arms"] if o["eligible"]]
        assert eligible == ["retrieve", "hybrid"]
        assert any("finetuned isn't eligible" in reason for reason in body["reasons"])
        assert (await logged(service, body))["out_of_distribution"] is True


async def test_a_safe_route_keeps_all_of_its_arms(
    start_service: StartService, encoder: Encoder
) -> None:
    names = ["fast", "deep", "own"]
    features = Featurizer(encoder).features([row["query"] for row in outcome_rows(400, 0)])
    artifact = with_known_queries(
        load_policy(always("own", encoder, arms=names)), features, 0
    ).artifact()
    registry = MemoryPolicyRegistry()
    registry.publish(artifact)
    registry.activate(artifact.version, by="test")
    configured = Settings(
        arms={
            "fast": ArmSettings("retrieve"),
            "deep": ArmSettings("retrieve"),
            "own": ArmSettings("finetuned"),
        },
        out_of_distribution=OutOfDistributionSettings(alpha=0.01, safe_arm="retrieve"),
    )
    async with start_service(configured, registry=registry) as service:
        body = await routed(service, FOREIGN)
        eligible = [o["arm"] for o in body["arms"] if o["eligible"]]
        assert eligible == ["fast", "deep"]


@pytest.mark.parametrize("alpha", [0.0, 0.002])
async def test_no_alpha_or_one_too_small_for_the_calibration_rows_flags_nothing(
    start_service: StartService, registry: MemoryPolicyRegistry, alpha: float
) -> None:
    """400 calibration rows can't tell 1 in 500."""
    async with start_service(settings("retrieve", alpha), registry=registry) as service:
        body = await routed(service, FOREIGN)
        assert not (await logged(service, body)).get("out_of_distribution")


async def test_the_built_in_rules_flag_nothing(start_service: StartService) -> None:
    async with start_service(settings("retrieve", 0.5)) as service:
        body = await routed(service, FOREIGN)
        assert all(outlook["eligible"] for outlook in body["arms"])


async def test_a_batch_flags_only_the_rows_it_must(
    start_service: StartService, registry: MemoryPolicyRegistry
) -> None:
    async with start_service(settings("retrieve"), registry=registry) as service:
        requests = [{"query": text} for text in (KNOWN, FOREIGN, KNOWN)]
        response = await service.client.post("/v1/route/batch", json={"requests": requests})
        propensities = [d["propensity"] for d in response.json()["decisions"]]
        assert [p == 1.0 for p in propensities] == [False, True, False]
        text = (await service.client.get("/metrics")).text
        assert "rag_router_out_of_distribution_total 1.0" in text


async def test_a_policy_that_knows_other_features_is_refused(
    start_service: StartService, trained: Artifact
) -> None:
    from policies.artifact import seal

    tensors = {
        name: tensor[..., 1:]
        if name in ("known_shift", "known_scale", "known_prototypes", "known_directions")
        else tensor
        for name, tensor in trained.tensors.items()
    }
    artifact = seal(msgspec.structs.replace(trained.manifest, version=""), tensors)
    registry = MemoryPolicyRegistry()
    registry.publish(artifact)
    registry.activate(artifact.version, by="test")
    async with start_service(registry=registry) as service:
        ready = (await service.client.get("/health/ready")).json()
        assert "knows queries of 277 features, not 278" in ready["refused"]


async def test_drift_of_queries_raises_an_alarm_but_not_unreadiness(
    start_service: StartService, registry: MemoryPolicyRegistry
) -> None:
    async with start_service(settings(None), registry=registry) as service:
        queries = [f"SELECT name FROM users WHERE id = {number};" for number in range(50)]
        before = (await service.client.get("/metrics")).text
        assert 'rag_router_drift_alarm{test="queries"} 0.0' in before
        requests = [{"query": text} for text in queries]
        await service.client.post("/v1/route/batch", json={"requests": requests})
        text = (await service.client.get("/metrics")).text
        assert 'rag_router_drift_alarm{test="queries"} 1.0' in text
        assert 'rag_router_drift_alarm{test="propensities"} 0.0' in text
        assert 'rag_router_drift_observed{test="queries"} 50.0' in text
        response = await service.client.get("/health/ready")
        assert response.status_code == 200
        assert response.json()["status"] == "ready"
        assert "unlike the training rows in" in response.json()["drift"]["queries"]


async def test_drift_tests_can_be_switched_off(start_service: StartService) -> None:
    async with start_service(Settings(drift=DriftSettings(false_alarm_rate=0.0))) as service:
        await routed(service, KNOWN)
        assert "rag_router_drift_alarm{" not in (await service.client.get("/metrics")).text
