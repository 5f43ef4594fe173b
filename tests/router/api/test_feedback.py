"""POST /v1/feedback and GET /v1/decisions/{id}."""

import msgspec
import pytest

from router.log.errors import StoreUnavailableError
from router.settings import RedisSettings, Settings
from tests.router.conftest import Service, StartService

OLD_DECISION = "018f3f2e-7d2a-7c3e-9b1a-3f1d2c4b5a69"


async def decide(service: Service) -> str:
    response = await service.client.post("/v1/route", json={"query": "Who wrote Emma?"})
    return str(response.json()["decision_id"])


async def test_feedback_joins_its_decision_in_the_trace(service: Service) -> None:
    decision_id = await decide(service)
    values = [
        {"decision_id": decision_id, "metric": "quality", "value": 0.5, "source": "user"},
        {"decision_id": decision_id.upper(), "metric": "latency_s", "value": 1.25},
    ]
    response = await service.client.post("/v1/feedback", json=values)
    assert response.status_code == 202
    receipt = response.json()
    assert (receipt["accepted"], receipt["duplicates"], receipt["durable_in"]) == (2, 0, "stored")
    trace = (await service.client.get(f"/v1/decisions/{decision_id}")).json()
    assert trace["decision"]["decision_id"] == decision_id
    told = {(given["metric"], given["value"]) for given in trace["feedback"]}
    assert told == {("quality", 0.5), ("latency_s", 1.25)}


async def test_feedback_is_accepted_for_decisions_of_any_age(service: Service) -> None:
    feedback = {"decision_id": OLD_DECISION, "metric": "quality", "value": 1}
    response = await service.client.post("/v1/feedback", json=feedback)
    assert response.status_code == 202


async def test_a_retry_with_the_same_key_adds_nothing(service: Service) -> None:
    decision_id = await decide(service)
    feedback = {"decision_id": decision_id, "metric": "quality", "value": 1}
    headers = {"Idempotency-Key": "abc"}
    first = await service.client.post("/v1/feedback", json=feedback, headers=headers)
    again = await service.client.post("/v1/feedback", json=feedback, headers=headers)
    assert first.json()["feedback_ids"] == again.json()["feedback_ids"]
    assert again.json()["duplicates"] == 1
    trace = (await service.client.get(f"/v1/decisions/{decision_id}")).json()
    assert len(trace["feedback"]) == 1


async def test_a_key_used_again_for_something_else_is_a_conflict(service: Service) -> None:
    feedback = {"decision_id": OLD_DECISION, "metric": "quality", "value": 1}
    headers = {"Idempotency-Key": "abc"}
    await service.client.post("/v1/feedback", json=feedback, headers=headers)
    other = {**feedback, "value": 0}
    response = await service.client.post("/v1/feedback", json=other, headers=headers)
    assert (response.status_code, response.json()["field"]) == (422, "Idempotency-Key")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"decision_id": "7"}, "decision_id"),
        ({"decision_id": OLD_DECISION.replace("-", "")}, "decision_id"),
        ({"decision_id": f" {OLD_DECISION}"}, "decision_id"),
        ({"decision_id": "0x" + OLD_DECISION[2:]}, "decision_id"),
        ({"decision_id": OLD_DECISION.replace("0", "\u0660")}, "decision_id"),
        ({"metric": ""}, "metric"),
        ({"metric": "a b"}, "metric"),
        ({"value": "1"}, "value"),
        ({"value": True}, "value"),
        ({"value": 1.01}, "value"),
        ({"metric": "latency_s", "value": 1e150}, "value"),
        ({"metric": "cost_usd", "value": -1}, "value"),
        ({"value": -0.01}, "value"),
        ({"comment": "x" * 8193}, "comment"),
        ({"rating": 5}, "rating"),
    ],
)
async def test_bad_feedback_is_a_problem_that_names_the_field(
    service: Service, change: dict[str, object], field: str
) -> None:
    feedback = {"decision_id": OLD_DECISION, "metric": "quality", "value": 1, **change}
    response = await service.client.post("/v1/feedback", json=feedback)
    assert (response.status_code, response.json()["field"]) == (400, field)
    listed = await service.client.post("/v1/feedback", json=[feedback])
    assert (listed.status_code, listed.json()["field"]) == (400, f"[0].{field}")


async def test_two_callers_may_use_the_same_key(start_service: StartService) -> None:
    settings = msgspec.convert({"auth": {"api_keys_env": "KEYS"}}, Settings)
    async with start_service(settings, {"KEYS": "one,two"}) as service:
        ids = set()
        for caller, value in (("one", 0), ("two", 1)):
            response = await service.client.post(
                "/v1/feedback",
                json={"decision_id": OLD_DECISION, "metric": "quality", "value": value},
                headers={"Idempotency-Key": "1", "Authorization": f"Bearer {caller}"},
            )
            assert response.status_code == 202
            ids.update(response.json()["feedback_ids"])
        assert len(ids) == 2


@pytest.mark.parametrize("key", ["", "x" * 257])
async def test_a_key_without_or_with_too_many_characters_is_refused(
    service: Service, key: str
) -> None:
    feedback = {"decision_id": OLD_DECISION, "metric": "quality", "value": 1}
    headers = {"Idempotency-Key": key}
    response = await service.client.post("/v1/feedback", json=feedback, headers=headers)
    assert response.status_code == 400


async def test_an_empty_list_is_refused(service: Service) -> None:
    response = await service.client.post("/v1/feedback", json=[])
    assert response.status_code == 400


async def test_feedback_is_spooled_while_the_store_is_away(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision_id = await decide(service)
    await service.client.get(f"/v1/decisions/{decision_id}")

    async def away(*_: object) -> int:
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(service.store, "append", away)
    monkeypatch.setattr(service.store, "ping", away)
    feedback = {"decision_id": decision_id, "metric": "quality", "value": 1}
    response = await service.client.post("/v1/feedback", json=feedback)
    assert (response.status_code, response.json()["durable_in"]) == (202, "spooled")
    assert response.json()["duplicates"] is None
    ready = await service.client.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")


async def test_an_unknown_decision_is_not_found(service: Service) -> None:
    response = await service.client.get(f"/v1/decisions/{OLD_DECISION}")
    assert (response.status_code, response.json()["field"]) == (404, "id")
    malformed = await service.client.get("/v1/decisions/7")
    assert (malformed.status_code, malformed.json()["field"]) == (400, "id")


@pytest.mark.parametrize(("trace_hours", "seconds"), [(1.0, 3600.0), (8760.0, 604_800.0)])
async def test_a_key_is_remembered_as_long_as_decisions_can_be_traced_and_a_week_at_most(
    start_service: StartService,
    monkeypatch: pytest.MonkeyPatch,
    trace_hours: float,
    seconds: float,
) -> None:
    asked: list[float] = []

    async def remember(key: str, fingerprint: str, ttl_s: float) -> str | None:
        asked.append(ttl_s)
        return None

    settings = Settings(redis=RedisSettings(trace_hours=trace_hours))
    async with start_service(settings) as service:
        monkeypatch.setattr(service.store, "remember", remember)
        feedback = {"decision_id": OLD_DECISION, "metric": "quality", "value": 1}
        headers = {"Idempotency-Key": "abc"}
        await service.client.post("/v1/feedback", json=feedback, headers=headers)
    assert asked == [seconds]
