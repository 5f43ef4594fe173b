"""Budgets and tenants' settings over HTTP: what is served, logged and shown."""

import tomllib
from typing import Any

import pytest

from policies.encoders import Encoder
from policies.strict_toml import decode_strictly
from router.settings import Settings
from tests.router.api.test_policies import always
from tests.router.conftest import ADMIN, Service, StartService

# The default arms cost 0.0004, 0.0015 and 0.0020 by their priors.
CONFIG = """
[budgets.capped]
metric = "cost_usd"
at_most = 0.001
weight = 12.0
[budgets.impossible]
metric = "cost_usd"
at_most = 0.0001
[budgets.sources]
metric = "retrieval_rate"
at_most = 0.4
weight = 0.03
[tenants.acme]
budget = "capped"
[tenants.bolt]
objective = "fast"
exploration = { floor = 0.2, initial = 0.9 }
[tenants.calm]
exploration = { kind = "greedy" }
"""


def settings() -> Settings:
    return decode_strictly(tomllib.loads(CONFIG), Settings)


async def route(service: Service, **request: Any) -> Any:
    response = await service.client.post("/v1/route", json={"query": "Who wrote Emma?", **request})
    assert response.status_code == 200, response.text
    return response.json()


async def logged(service: Service, body: Any) -> Any:
    """The decision as it was logged."""
    return (await service.client.get(f"/v1/decisions/{body['decision_id']}")).json()["decision"]


async def test_a_budget_is_named_like_an_objective_and_its_present_weights_are_logged(
    start_service: StartService,
) -> None:
    async with start_service(settings()) as service:
        first = await logged(service, await route(service, objective="capped"))
        assert (first["objective"], first["weights"]) == (
            "capped",
            {"quality": 1.0, "cost_usd": -12.0},
        )
        for _ in range(40):
            await route(service, objective="capped")
        later = await logged(service, await route(service, objective="capped"))
        assert later["weights"]["cost_usd"] != -12.0


async def test_utilities_and_probabilities_are_those_of_the_logged_weights(
    start_service: StartService,
) -> None:
    async with start_service(settings()) as service:
        for _ in range(20):
            body = await route(service, objective="sources")
        event = await logged(service, body)
        for arm in body["arms"]:
            utility = sum(weight * arm["expected"][m] for m, weight in event["weights"].items())
            assert arm["utility"] == pytest.approx(utility)
            assert arm["expected"]["retrieval_rate"] == float(arm["route"] != "finetuned")


async def test_retrieval_rate_may_be_weighed_by_any_request(service: Service) -> None:
    body = await route(service, objective={"quality": 1, "retrieval_rate": -5}, explore=False)
    assert body["route"] == "finetuned"
    plain = await route(service)
    assert "retrieval_rate" not in plain["arms"][0]["expected"]


async def test_a_tenants_requests_have_its_budget_or_objective_unless_they_name_one(
    start_service: StartService,
) -> None:
    async with start_service(settings()) as service:
        for request, objective in (
            ({"tenant": "acme"}, "capped"),
            ({"tenant": "bolt"}, "fast"),
            ({"tenant": "calm"}, "balanced"),
            ({}, "balanced"),
            ({"tenant": "acme", "objective": "quality"}, "quality"),
            ({"tenant": "acme", "objective": {"quality": 2}}, "custom"),
        ):
            event = await logged(service, await route(service, **request))
            assert event["objective"] == objective, request


async def test_a_budget_out_of_reach_is_said_in_the_reasons_and_the_metrics(
    start_service: StartService,
) -> None:
    async with start_service(settings()) as service:
        for _ in range(10):
            body = await route(service, objective="impossible")
        assert any("impossible is out of reach" in reason for reason in body["reasons"])
        other = await route(service, objective="quality")
        assert not any("out of reach" in reason for reason in other["reasons"])
        shown = (await service.client.get("/metrics")).text
        assert 'rag_router_budget_unheld{budget="impossible"} 1.0\n' in shown


async def test_budgets_show_as_metrics_by_their_configured_names_only(
    start_service: StartService,
) -> None:
    async with start_service(settings()) as service:
        for tenant in ("acme", "caller-made"):
            await route(service, tenant=tenant)
        shown = (await service.client.get("/metrics")).text
        assert 'rag_router_budget_weight{budget="capped"} 12.0' in shown
        assert 'rag_router_budget_unheld{budget="capped"} 0.0' in shown
        assert "caller-made" not in shown


async def test_feedback_on_the_cost_tells_the_budget_what_was_really_spent(
    start_service: StartService,
) -> None:
    async with start_service(settings()) as service:
        body = await route(service, objective="capped")
        sent = {"decision_id": body["decision_id"], "metric": "cost_usd", "value": 0.5}
        assert (await service.client.post("/v1/feedback", json=sent)).status_code == 202
        shown = (await service.client.get("/metrics")).text
        assert 'rag_router_budget_spend{budget="capped"} 0.5\n' in shown


async def test_a_tenant_explores_at_its_own_rate_before_and_after_the_first_promotion(
    start_service: StartService, encoder: Encoder
) -> None:
    """Three arms: a uniform share of e gives the arms that look worse e/3 each, a floor itself."""
    async with start_service(settings()) as service:

        async def least(tenant: str) -> float:
            body = await route(service, tenant=tenant, objective="quality")
            return float(min(arm["probability"] for arm in body["arms"]))

        assert await least("") == pytest.approx(0.3 / 3)
        assert await least("bolt") == pytest.approx(0.9 / 3)
        assert await least("calm") == 0.0
        artifact = always("hybrid", encoder)
        service.registry.publish(artifact)
        await service.client.post(f"/v1/policies/{artifact.version}/activate", headers=ADMIN)
        plain = await least("")
        assert plain == pytest.approx(0.05 + 0.85 / 103)
        assert await least("bolt") == pytest.approx(0.2 + 0.4 / 103)
        assert await least("calm") == 0.0


async def test_requests_of_one_batch_each_have_their_tenants_exploration(
    start_service: StartService,
) -> None:
    async with start_service(settings()) as service:
        requests = [
            {"query": "Who?", "tenant": tenant, "objective": "quality"}
            for tenant in ("bolt", "", "calm", "bolt")
        ]
        response = await service.client.post("/v1/route/batch", json={"requests": requests})
        least = [
            min(arm["probability"] for arm in decision["arms"])
            for decision in response.json()["decisions"]
        ]
        assert least == pytest.approx([0.3, 0.1, 0.0, 0.3])
