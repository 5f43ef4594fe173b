"""POST /v1/route and /v1/route/batch."""

import msgspec
import pytest

from policies.choose import choose
from policies.settings import ArmSettings, RuleCondition, RuleSettings
from router.settings import AuditSettings, LogSettings, Settings
from tests.router.conftest import Service, StartService

QUERY = "Who wrote The Old Man and the Sea?"


async def test_a_decision_has_every_part_of_the_contract(service: Service) -> None:
    response = await service.client.post("/v1/route", json={"query": QUERY})
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {
        "decision_id", "route", "arm", "propensity", "explored", "policy", "arms", "reasons",
        "fallback",
    }  # fmt: skip
    assert set(body["policy"]) == {"name", "version"}
    assert [outlook["arm"] for outlook in body["arms"]] == ["finetuned", "retrieve", "hybrid"]
    assert sum(outlook["probability"] for outlook in body["arms"]) == pytest.approx(1.0)
    drawn = next(outlook for outlook in body["arms"] if outlook["arm"] == body["arm"])
    assert drawn["probability"] == body["propensity"]
    assert set(drawn["expected"]) == {"quality", "cost_usd", "latency_s"}
    assert body["reasons"]
    assert body["fallback"] is None


async def test_a_logged_decision_replays_to_the_same_arm(service: Service) -> None:
    for number in range(20):
        response = await service.client.post("/v1/route", json={"query": f"{QUERY} {number}"})
        decision_id = response.json()["decision_id"]
        trace = (await service.client.get(f"/v1/decisions/{decision_id}")).json()
        event = trace["decision"]
        probabilities = msgspec.convert(event["probabilities"], list[float])
        import numpy as np

        assert event["arms"][choose(np.array(probabilities), decision_id)] == event["arm"]
        assert event["propensity"] == probabilities[event["arms"].index(event["arm"])]


async def test_a_lone_eligible_arm_has_propensity_exactly_one(service: Service) -> None:
    response = await service.client.post("/v1/route", json={"query": QUERY, "arms": ["hybrid"]})
    body = response.json()
    assert (body["arm"], body["propensity"], body["explored"]) == ("hybrid", 1.0, False)
    masked = [outlook for outlook in body["arms"] if not outlook["eligible"]]
    assert {outlook["probability"] for outlook in masked} == {0.0}
    assert {outlook["why_not"] for outlook in masked} == {"not among the request's arms"}


async def test_without_exploration_the_best_arm_is_certain(service: Service) -> None:
    request = {"query": QUERY, "explore": False}
    body = (await service.client.post("/v1/route", json=request)).json()
    best = max(body["arms"], key=lambda outlook: outlook["utility"])
    assert (body["arm"], body["propensity"]) == (best["arm"], 1.0)


async def test_the_objective_changes_the_choice_of_one_policy(service: Service) -> None:
    async def best(objective: object) -> str:
        request = {"query": "Tell me about it", "explore": False, "objective": objective}
        return str((await service.client.post("/v1/route", json=request)).json()["arm"])

    assert await best({"quality": 1}) == "hybrid"
    assert await best({"quality": 1, "cost_usd": -1000}) == "finetuned"
    assert await best("cheap") == "finetuned"


async def test_time_sensitive_words_lead_to_a_retrieving_arm_and_say_so(service: Service) -> None:
    request = {"query": "What is the latest version, as of today?", "explore": False}
    body = (await service.client.post("/v1/route", json=request)).json()
    assert body["route"] in ("retrieve", "hybrid")
    assert any("time-sensitive" in reason for reason in body["reasons"])


async def test_the_last_user_turn_stands_in_for_a_missing_query(service: Service) -> None:
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "What is 12 * 7?"},
    ]
    body = (await service.client.post("/v1/route", json={"messages": messages})).json()
    assert any("arithmetic" in reason for reason in body["reasons"])


async def test_a_batch_is_decided_in_order(service: Service) -> None:
    requests = [{"query": QUERY, "arms": [arm]} for arm in ("hybrid", "finetuned", "retrieve")]
    body = (await service.client.post("/v1/route/batch", json={"requests": requests})).json()
    assert [decision["arm"] for decision in body["decisions"]] == [
        "hybrid",
        "finetuned",
        "retrieve",
    ]


async def test_one_wrong_request_fails_its_batch_and_nothing_is_logged(service: Service) -> None:
    requests = [{"query": QUERY}, {"query": "  "}]
    response = await service.client.post("/v1/route/batch", json={"requests": requests})
    assert response.status_code == 400
    assert response.json()["field"] == "requests[1].query"
    assert b"rag_router_decisions_total{" not in (await service.client.get("/metrics")).content


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": "   "}, "query"),
        ({}, "query"),
        ({"query": "x" * 32_769}, "query"),
        ({"query": QUERY, "qeury": 1}, "qeury"),
        ({"query": 5}, "query"),
        ({"query": QUERY, "arms": ["finetund"]}, "arms[0]"),
        ({"query": QUERY, "arms": []}, "arms"),
        ({"query": QUERY, "objective": "cheep"}, "objective"),
        ({"query": QUERY, "objective": {"qualty": 1}}, "objective.qualty"),
        ({"query": QUERY, "objective": {"quality": "1"}}, "objective[...]"),
        ({"query": QUERY, "objective": {}}, "objective"),
        ({"query": QUERY, "objective": {"quality": 0}}, "objective"),
        ({"query": QUERY, "objective": {"quality": 1.5e308}}, "objective.quality"),
        ({"query": QUERY, "attributes": {"a": []}}, "attributes[...]"),
        ({"query": QUERY, "explore": "yes"}, "explore"),
        ({"query": QUERY, "tenant": "x" * 129}, "tenant"),
        ({"query": QUERY, "messages": [{"role": "user"}]}, "messages[0].content"),
    ],
)
async def test_a_bad_request_is_a_problem_that_names_the_field(
    service: Service, body: dict[str, object], field: str
) -> None:
    response = await service.client.post("/v1/route", json=body)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["field"] == field
    assert problem["type"].startswith("urn:adaptive-rag-router:problem:")
    assert problem["status"] == 400
    assert problem["detail"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"query": "\xff"}',
        b'{"query": "x", "objective": {"quality": 1e999}}',
        b'{"query": "x", "objective": {"quality": NaN}}',
        b"[" * 100_000,
        b'{"query": "\\ud800"}',
    ],
)
async def test_a_body_that_is_no_json_of_ours_is_a_problem(service: Service, raw: bytes) -> None:
    response = await service.client.post("/v1/route", content=raw)
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/problem+json"


async def test_an_empty_body_says_so(service: Service) -> None:
    response = await service.client.post("/v1/route")
    assert "no body" in response.json()["detail"]


async def test_an_oversized_body_is_refused(service: Service) -> None:
    raw = b'{"query": "' + b"x" * 1_048_577 + b'"}'
    response = await service.client.post("/v1/route", content=raw)
    assert response.status_code == 413
    assert response.json()["status"] == 413


@pytest.mark.parametrize("count", [0, 257])
async def test_a_batch_has_1_to_256_requests(service: Service, count: int) -> None:
    body = {"requests": [{"query": QUERY}] * count}
    response = await service.client.post("/v1/route/batch", json=body)
    assert (response.status_code, response.json()["field"]) == (400, "requests")


@pytest.mark.parametrize(
    "query", ["日本の首都はどこですか？", "🙂" * 50, "word " * 6000, "x" * 32_768]
)
async def test_unusual_queries_are_decided(service: Service, query: str) -> None:
    response = await service.client.post("/v1/route", json={"query": query})
    assert response.status_code == 200


async def test_a_rule_masks_arms_by_attribute(start_service: StartService) -> None:
    rule = RuleSettings(when=RuleCondition("audience", "regulated"), require=["sources"])
    async with start_service(Settings(rules=[rule])) as service:
        request = {"query": QUERY, "attributes": {"audience": "regulated"}}
        body = (await service.client.post("/v1/route", json=request)).json()
        finetuned = body["arms"][0]
        assert (finetuned["eligible"], finetuned["probability"]) == (False, 0.0)
        assert "audience" in finetuned["why_not"]
        assert any("audience" in reason for reason in body["reasons"])
        contradiction = {**request, "arms": ["finetuned"]}
        response = await service.client.post("/v1/route", json=contradiction)
        assert (response.status_code, response.json()["field"]) == (400, "arms")


async def test_require_sources_forbids_finetuned_without_any_rule(service: Service) -> None:
    request = {"query": QUERY, "attributes": {"require_sources": True}}
    body = (await service.client.post("/v1/route", json=request)).json()
    assert body["arms"][0]["eligible"] is False
    assert body["route"] in ("retrieve", "hybrid")


async def test_configured_arms_and_priors_are_served(start_service: StartService) -> None:
    arms = {
        "small": ArmSettings(route="finetuned", expected={"quality": 0.9, "carbon_g": 1.0}),
        "docs": ArmSettings(route="retrieve", expected={"quality": 0.1, "carbon_g": 9.0}),
    }
    async with start_service(Settings(arms=arms)) as service:
        request = {"query": QUERY, "explore": False, "objective": {"carbon_g": -1}}
        body = (await service.client.post("/v1/route", json=request)).json()
        assert (body["arm"], body["arms"][1]["expected"]["carbon_g"]) == ("small", 9.0)


@pytest.mark.parametrize("text", ["none", "redacted"])
async def test_the_log_holds_no_more_text_than_configured(
    start_service: StartService, text: str
) -> None:
    settings = Settings(log=msgspec.convert({"text": text}, LogSettings))
    async with start_service(settings) as service:
        request = {"query": "Write to jane@example.com about it"}
        decision_id = (await service.client.post("/v1/route", json=request)).json()["decision_id"]
        feedback = {
            "decision_id": decision_id,
            "metric": "quality",
            "value": 1,
            "comment": "from jane@example.com",
        }
        await service.client.post("/v1/feedback", json=feedback)
        trace = await service.client.get(f"/v1/decisions/{decision_id}")
        assert "jane@example.com" not in trace.text
        logged = trace.json()["decision"]["query"]
        assert logged == (None if text == "none" else "Write to <email> about it")
        assert trace.json()["decision"]["features"]


async def test_callers_need_a_key_where_keys_are_configured(start_service: StartService) -> None:
    settings = msgspec.convert({"auth": {"api_keys_env": "KEYS"}}, Settings)
    async with start_service(settings, {"KEYS": "one, two"}) as service:
        refused = await service.client.post("/v1/route", json={"query": QUERY})
        assert (refused.status_code, refused.json()["title"]) == (401, "Key required")
        assert "one" not in refused.text
        headers = {"Authorization": "Bearer two"}
        allowed = await service.client.post("/v1/route", json={"query": QUERY}, headers=headers)
        assert allowed.status_code == 200
        assert (await service.client.get("/health/live")).status_code == 200


async def test_an_audited_decision_says_so_to_the_caller_and_in_the_log(
    start_service: StartService,
) -> None:
    async with start_service(Settings(audit=AuditSettings(share=1.0))) as service:
        body = (await service.client.post("/v1/route", json={"query": QUERY})).json()
        trace = (await service.client.get(f"/v1/decisions/{body['decision_id']}")).json()
    assert body["audit"] is True
    assert trace["decision"]["audit"] is True
