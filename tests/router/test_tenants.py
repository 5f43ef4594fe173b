"""Tenants through the service: a policy that learned of them decides for each by its own."""

from typing import Any

import numpy as np
import pytest

from policies.artifact import Artifact
from policies.encoders import Encoder
from policies.tenant_offsets import TenantOffsets, with_offsets
from tests.router.api.test_policies import always
from tests.router.conftest import ADMIN, Service

QUERY = "How long do refunds take?"
# By arm: finetuned, retrieve, hybrid. Everybody's best is hybrid.
ACME = np.array([[1.5], [0.0], [0.0]])
GLOBEX = np.array([[0.0], [1.25], [-0.5]])


def knowing_tenants(encoder: Encoder) -> Artifact:
    offsets = TenantOffsets.by_tenant({"acme": ACME, "globex": GLOBEX}, bytes(16))
    return with_offsets(always("hybrid", encoder), offsets)


async def activate(service: Service, artifact: Artifact) -> None:
    service.registry.publish(artifact)
    path = f"/v1/policies/{artifact.version}/activate"
    assert (await service.client.post(path, headers=ADMIN)).status_code == 200


async def ask(service: Service, tenant: str | None) -> Any:
    request = {"query": QUERY, "explore": False}
    request |= {} if tenant is None else {"tenant": tenant}
    return (await service.client.post("/v1/route", json=request)).json()


def expected_quality(decision: Any) -> list[float]:
    return [outlook["expected"]["quality"] for outlook in decision["arms"]]


@pytest.mark.parametrize(
    ("tenant", "quality", "arm"),
    [
        ("acme", [1.5, 0.0, 1.0], "finetuned"),
        ("globex", [0.0, 1.25, 0.5], "retrieve"),
        ("unheard of", [0.0, 0.0, 1.0], "hybrid"),
        ("", [0.0, 0.0, 1.0], "hybrid"),
        (None, [0.0, 0.0, 1.0], "hybrid"),
    ],
)
async def test_the_same_query_is_decided_by_its_tenants_expectations_and_logged_with_them(
    service: Service, encoder: Encoder, tenant: str | None, quality: list[float], arm: str
) -> None:
    await activate(service, knowing_tenants(encoder))
    decision = await ask(service, tenant)
    assert (expected_quality(decision), decision["arm"]) == (quality, arm)
    trace = (await service.client.get(f"/v1/decisions/{decision['decision_id']}")).json()
    logged = trace["decision"]
    assert (logged["expected"]["quality"], logged["tenant"]) == (quality, tenant or "")


async def test_a_batch_of_tenants_gives_each_its_own(service: Service, encoder: Encoder) -> None:
    await activate(service, knowing_tenants(encoder))
    requests = [{"query": QUERY, "tenant": t} for t in ("globex", "", "acme", "globex")]
    body = (await service.client.post("/v1/route/batch", json={"requests": requests})).json()
    found = [expected_quality(decision) for decision in body["decisions"]]
    assert found == [[0.0, 1.25, 0.5], [0.0, 0.0, 1.0], [1.5, 0.0, 1.0], [0.0, 1.25, 0.5]]


async def test_no_listing_of_policies_names_a_tenant(service: Service, encoder: Encoder) -> None:
    await activate(service, knowing_tenants(encoder))
    await ask(service, "acme")
    for path in ("/v1/policies", "/metrics", "/schema/openapi.json"):
        content = (await service.client.get(path)).text
        assert "acme" not in content
        assert "globex" not in content
