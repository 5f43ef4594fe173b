"""/v1/policies/{version}/shadow and /canary, and what they do to decisions."""

import math
from typing import Any

import numpy as np
import pytest

from policies.choose import choose
from policies.encoders import Encoder
from policies.events import DecisionMade
from policies.registries.memory import MemoryPolicyRegistry
from tests.router.api.test_policies import always
from tests.router.conftest import ADMIN, Service, StartService


async def roll_out(service: Service, version: str, share: float | None = None) -> dict[str, Any]:
    """Begin a shadow, or with a share a canary."""
    path = f"/v1/policies/{version}/" + ("shadow" if share is None else "canary")
    body = None if share is None else {"share": share}
    response = await service.client.post(path, json=body, headers=ADMIN)
    assert response.status_code == 200, response.text
    begun: dict[str, Any] = response.json()
    return begun


async def decided(service: Service, **fields: object) -> tuple[dict[str, Any], DecisionMade]:
    """One decision, as the caller and as the log sees it."""
    body = (await service.client.post("/v1/route", json={"query": "Who?", **fields})).json()
    events: list[DecisionMade] = []

    def logged() -> bool:
        events[:] = [
            event
            for event in service.store.events
            if isinstance(event, DecisionMade) and event.decision_id == body["decision_id"]
        ]
        return bool(events)

    for _ in range(500):
        if logged():
            break
        await service.client.get("/health/live")  # lets the log's own task run
    return body, events[0]


@pytest.fixture
def policies(encoder: Encoder) -> tuple[Any, Any]:
    """The incumbent always likes `retrieve`, the candidate `hybrid`."""
    return always("retrieve", encoder), always("hybrid", encoder)


@pytest.fixture
async def serving(service: Service, policies: tuple[Any, Any]) -> Service:
    """A service whose active policy is the incumbent."""
    for artifact in policies:
        service.registry.publish(artifact)
    path = f"/v1/policies/{policies[0].version}/activate"
    assert (await service.client.post(path, headers=ADMIN)).status_code == 200
    return service


async def test_a_shadow_is_logged_and_draws_nothing(
    serving: Service, policies: tuple[Any, Any]
) -> None:
    """The reply is as it was without it; the log has what the candidate would have drawn."""
    incumbent, candidate = policies
    before, event_before = await decided(serving)
    begun = await roll_out(serving, candidate.version)
    assert (begun["stage"], begun["share"]) == ("shadow", 0.0)
    assert begun["incumbent"] == incumbent.version
    after, event = await decided(serving)
    assert [a["probability"] for a in after["arms"]] == [a["probability"] for a in before["arms"]]
    assert after["reasons"] == before["reasons"] or after["explored"] != before["explored"]
    assert event_before.candidate == ""
    assert (event.candidate, event.candidate_share) == (candidate.version, 0.0)
    assert event.probabilities == event_before.probabilities
    assert event.candidate_probabilities[2] > 0.85
    assert event.policy_version == incumbent.version


async def test_a_canary_is_drawn_from_the_mixture(
    serving: Service, policies: tuple[Any, Any]
) -> None:
    """Probabilities and propensity are the mixture's, and the draw can be replayed from the log."""
    incumbent, candidate = policies
    _, alone = await decided(serving)
    await roll_out(serving, candidate.version, 0.25)
    for _ in range(20):
        body, event = await decided(serving)
        mixed = [
            0.75 * p + 0.25 * q
            for p, q in zip(alone.probabilities, event.candidate_probabilities, strict=True)
        ]
        assert event.probabilities == pytest.approx(mixed)
        assert math.fsum(event.probabilities) == pytest.approx(1.0, abs=1e-12)
        drawn = event.arms.index(event.arm)
        assert event.propensity == event.probabilities[drawn] == body["propensity"]
        assert choose(np.array(event.probabilities), event.decision_id) == drawn
        assert (event.candidate, event.candidate_share) == (candidate.version, 0.25)
        assert body["policy"]["version"] == event.policy_version == incumbent.version
        assert event.expected == alone.expected
        assert any("canary" in reason for reason in body["reasons"])


async def test_masks_hold_for_the_candidate_too(
    serving: Service, policies: tuple[Any, Any]
) -> None:
    """An arm that isn't eligible has probability 0; a lone one exactly 1."""
    await roll_out(serving, policies[1].version, 0.5)
    _, two = await decided(serving, arms=["finetuned", "retrieve"])
    assert two.probabilities[2] == two.candidate_probabilities[2] == 0.0
    _, lone = await decided(serving, arms=["finetuned"])
    assert (lone.propensity, lone.probabilities) == (1.0, [1.0, 0.0, 0.0])


async def test_without_exploration_the_incumbent_decides_alone(
    serving: Service, policies: tuple[Any, Any]
) -> None:
    """Its best arm with propensity 1, in a batch beside one that takes part, too."""
    await roll_out(serving, policies[1].version, 0.5)
    body, event = await decided(serving, explore=False)
    assert (body["arm"], event.propensity, event.candidate) == ("retrieve", 1.0, "")
    assert not any("canary" in reason for reason in body["reasons"])
    both = [{"query": "Who?", "explore": False}, {"query": "Who?"}]
    answer = (await serving.client.post("/v1/route/batch", json={"requests": both})).json()
    assert answer["decisions"][0]["propensity"] == 1.0
    assert any("canary" in reason for reason in answer["decisions"][1]["reasons"])


async def test_a_candidate_that_fails_costs_nobody_a_decision(
    serving: Service, policies: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The incumbent decides alone, and the log says nothing of the candidate."""
    from router.serving_policy import ServingPolicy

    await roll_out(serving, policies[1].version, 0.5)
    whole = ServingPolicy.expected

    def failing(self: ServingPolicy, features: Any, tenants: Any) -> Any:
        if self.policy.version == policies[1].version:
            raise FloatingPointError("a defect")
        return whole(self, features, tenants)

    monkeypatch.setattr(ServingPolicy, "expected", failing)
    body, event = await decided(serving)
    assert event.candidate == ""
    assert sum(a["probability"] for a in body["arms"]) == pytest.approx(1.0)


async def test_the_list_and_the_metrics_show_the_rollout(
    serving: Service, policies: tuple[Any, Any]
) -> None:
    """With what the watch has found; a rollback ends it and leaves the incumbent."""
    incumbent, candidate = policies
    await roll_out(serving, candidate.version, 0.25)
    listed = (await serving.client.get("/v1/policies")).json()
    assert (listed["rollout"]["version"], listed["rollout"]["share"]) == (candidate.version, 0.25)
    assert listed["replicas"][0]["candidate"] == candidate.version
    metrics = (await serving.client.get("/metrics")).text
    assert "rag_router_rollout_stage 2.0" in metrics
    assert "rag_router_rollout_share 0.25" in metrics
    back = (await serving.client.post("/v1/policies/rollback", headers=ADMIN)).json()
    assert back["serving"]["version"] == incumbent.version
    assert back["ended"]["outcome"] == "rolled_back"
    assert back["ended"]["rollout"]["version"] == candidate.version
    listed = (await serving.client.get("/v1/policies")).json()
    assert listed["rollout"] is None
    assert listed["active"] == incumbent.version
    assert [ended["outcome"] for ended in listed["past_rollouts"]] == ["rolled_back"]
    _, event = await decided(serving)
    assert event.candidate == ""
    metrics = (await serving.client.get("/metrics")).text
    assert 'rag_router_rollbacks_total{by="request"} 1.0' in metrics
    assert "rag_router_rollout_stage 0.0" in metrics


async def test_full_is_activating_the_candidate(
    serving: Service, policies: tuple[Any, Any]
) -> None:
    """It serves alone, and its rollout is over."""
    await roll_out(serving, policies[1].version, 0.25)
    path = f"/v1/policies/{policies[1].version}/activate"
    assert (await serving.client.post(path, headers=ADMIN)).status_code == 200
    _, event = await decided(serving)
    assert (event.policy_version, event.candidate) == (policies[1].version, "")


@pytest.mark.parametrize("share", [0, 1, -0.2, 2.5])
async def test_a_wrong_share_is_a_problem_that_names_the_field(
    serving: Service, policies: tuple[Any, Any], share: float
) -> None:
    path = f"/v1/policies/{policies[1].version}/canary"
    response = await serving.client.post(path, json={"share": share}, headers=ADMIN)
    assert response.status_code == 400
    problem = response.json()
    assert (problem["type"].rpartition(":")[2], problem["field"]) == ("bad-share", "share")
    assert serving.registry.rollout() is None


@pytest.mark.parametrize("body", [{}, {"share": "some"}, {"share": 0.1, "shared": 1}])
async def test_a_wrong_body_is_a_problem(
    serving: Service, policies: tuple[Any, Any], body: dict[str, object]
) -> None:
    path = f"/v1/policies/{policies[1].version}/canary"
    response = await serving.client.post(path, json=body, headers=ADMIN)
    assert response.status_code == 400
    assert "share" in response.json()["field"]


async def test_the_active_policy_is_no_candidate(
    serving: Service, policies: tuple[Any, Any]
) -> None:
    """Nor are the built-in rules while they serve."""
    path = f"/v1/policies/{policies[0].version}/canary"
    response = await serving.client.post(path, json={"share": 0.1}, headers=ADMIN)
    assert response.status_code == 409
    assert response.json()["type"].endswith(":already-active")
    await serving.client.post("/v1/policies/rollback", headers=ADMIN)
    rules = (await serving.client.get("/v1/policies")).json()["serving"]["version"]
    response = await serving.client.post(f"/v1/policies/{rules}/shadow", headers=ADMIN)
    assert response.status_code == 409


async def test_an_unknown_version_and_a_misfit_are_refused(
    serving: Service, encoder: Encoder
) -> None:
    """With the reason; nothing changes."""
    for path in ("shadow", "canary"):
        response = await serving.client.post(
            f"/v1/policies/0123456789abcdef/{path}", json={"share": 0.1}, headers=ADMIN
        )
        assert response.status_code == 404
    misfit = always("a", encoder, arms=["a", "b"])
    serving.registry.publish(misfit)
    response = await serving.client.post(f"/v1/policies/{misfit.version}/shadow", headers=ADMIN)
    assert (response.status_code, response.json()["field"]) == (409, "arms")
    assert serving.registry.rollout() is None


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
async def test_a_rollout_needs_the_admin_key(service: Service, headers: dict[str, str]) -> None:
    for path in ("shadow", "canary"):
        response = await service.client.post(
            f"/v1/policies/0123456789abcdef/{path}", json={"share": 0.1}, headers=headers
        )
        assert response.status_code == 403


async def test_a_misfit_put_into_canary_elsewhere_is_left_out_and_said_so(
    start_service: StartService, encoder: Encoder
) -> None:
    """The incumbent serves alone."""
    registry = MemoryPolicyRegistry()
    incumbent, misfit = always("retrieve", encoder), always("a", encoder, arms=["a", "b"])
    for artifact in (incumbent, misfit):
        registry.publish(artifact)
    registry.activate(incumbent.version)
    registry.roll_out(misfit.version, share=0.5)
    async with start_service(registry=registry) as service:
        _, event = await decided(service)
        assert (event.policy_version, event.candidate) == (incumbent.version, "")
        [replica] = (await service.client.get("/v1/policies")).json()["replicas"]
        assert replica["refused"] is None
        assert "doesn't know the configured arms" in replica["candidate_refused"]
