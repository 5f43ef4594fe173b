"""Health, metrics, OpenAPI, and errors that belong to no endpoint."""

import pytest

from tests.router.conftest import Service


async def test_live_and_ready_answer(service: Service) -> None:
    assert (await service.client.get("/health/live")).json() == {"status": "live"}
    ready = (await service.client.get("/health/ready")).json()
    assert (ready["status"], ready["store"]) == ("ready", "up")


async def test_metrics_count_decisions_and_log_states(service: Service) -> None:
    await service.client.post("/v1/route", json={"query": "Who?", "arms": ["hybrid"]})
    text = (await service.client.get("/metrics")).text
    assert 'rag_router_decisions_total{arm="hybrid",explored="false"} 1.0' in text
    assert "rag_router_log_recorded_total 1.0" in text
    assert "rag_router_log_lost_total 0.0" in text


async def test_the_openapi_document_describes_every_endpoint(service: Service) -> None:
    document = (await service.client.get("/schema/openapi.json")).json()
    assert set(document["paths"]) >= {
        "/v1/route",
        "/v1/route/batch",
        "/v1/feedback",
        "/v1/decisions/{decision_id}",
        "/v1/policies",
        "/v1/policies/{version}/activate",
        "/v1/policies/rollback",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    request = document["paths"]["/v1/route"]["post"]["requestBody"]["content"]["application/json"]
    assert request["schema"]["$ref"].endswith("RouteRequest")
    assert (await service.client.get("/schema")).status_code == 200
    answers = document["paths"]["/v1/feedback"]["post"]["responses"]
    assert set(answers) == {"202", "400", "401", "408", "413", "422", "503"}
    for status in set(answers) - {"202"}:
        assert list(answers[status]["content"]) == ["application/problem+json"]
    assert list(document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == [
        "text/plain"
    ]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/v1/route", 405), ("DELETE", "/v1/policies", 405)],
)
async def test_framework_errors_are_problems_too(
    service: Service, method: str, path: str, status: int
) -> None:
    response = await service.client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status


async def test_a_defect_is_a_problem_without_its_traceback(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> bool:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(service.registry, "manifests", broken)
    response = await service.client.get("/v1/policies")
    assert response.status_code == 500
    assert "secret detail" not in response.text
    assert "secret detail" in caplog.text
