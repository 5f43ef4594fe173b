"""A bad canary is rolled back by itself: real replicas, a real store, feedback over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from policies.encoders import Encoder
from policies.registries.redis_registry import RedisPolicyRegistry
from tests.router.api.test_policies import always
from tests.router.conftest import ADMIN
from tests.service_process import ServiceProcess
from tests.stores import wait_until

CONFIG = """
[redis]
url = "{url}"
[rollout]
min_rounds = 50
"""


@pytest.fixture
def registry(valkey_url: str) -> Iterator[RedisPolicyRegistry]:
    with redis.Redis.from_url(valkey_url) as client:
        yield RedisPolicyRegistry(client)


@pytest.fixture
def replicas(tmp_path: Path, valkey_url: str) -> Iterator[list[ServiceProcess]]:
    config = CONFIG.format(url=valkey_url)
    services = [ServiceProcess(tmp_path / f"data{n}", config=config) for n in range(2)]
    for service in services:
        service.start()
    yield services
    for service in services:
        service.__exit__(None, None, None)


def traffic(service: ServiceProcess, number: int) -> int:
    """So many requests, half of them reported: `retrieve` is right, `finetuned` wrong. How many
    were reported.
    """
    requests = [{"query": f"Who wrote book {n}?"} for n in range(number)]
    answer = service.client.post("/v1/route/batch", json={"requests": requests})
    answer.raise_for_status()
    reports = [
        {
            "decision_id": decision["decision_id"],
            "metric": "quality",
            "value": {"retrieve": 1.0, "hybrid": 0.5, "finetuned": 0.0}[decision["arm"]],
        }
        for decision in answer.json()["decisions"][::2]
    ]
    service.client.post("/v1/feedback", json=reports).raise_for_status()
    return len(reports)


def rollout_of(service: ServiceProcess) -> dict[str, Any] | None:
    """As that replica tells it."""
    rollout: dict[str, Any] | None = service.client.get("/v1/policies").json()["rollout"]
    return rollout


def rounds_of(service: ServiceProcess) -> int:
    """How many reported rounds the watch has judged."""
    rollout = rollout_of(service)
    return rollout["metrics"][0]["rounds"] if rollout and rollout["metrics"] else 0


def test_a_bad_canary_is_rolled_back_on_every_replica_also_across_restarts(
    replicas: list[ServiceProcess], registry: RedisPolicyRegistry, encoder: Encoder
) -> None:
    """The evidence of before the restart counts, and the incumbent serves alone in the end."""
    incumbent, candidate = always("retrieve", encoder), always("finetuned", encoder)
    for artifact in (incumbent, candidate):
        registry.publish(artifact)
    first = replicas[0].client
    first.post(f"/v1/policies/{incumbent.version}/activate", headers=ADMIN).raise_for_status()
    began = first.post(
        f"/v1/policies/{candidate.version}/canary", json={"share": 0.3}, headers=ADMIN
    )
    assert (began.status_code, began.json()["stage"]) == (200, "canary")
    wait_until(
        lambda: [r.candidate for r in registry.replicas()] == [candidate.version] * 2  # all follow
    )

    reported = sum(traffic(service, 20) for service in replicas)
    wait_until(lambda: rounds_of(replicas[0]) == reported)
    assert (rollout_of(replicas[0]) or {})["verdict"] == "watching"
    metrics = replicas[1].client.get("/metrics").text
    assert "rag_router_rollout_stage 2.0" in metrics
    assert "rag_router_rollout_share 0.3" in metrics

    for service in replicas:
        service.kill()
        service.start()
    wait_until(lambda: any("canary" in reason for reason in replicas[1].route()["reasons"]))  # type: ignore[union-attr]
    for _ in range(5):
        for service in replicas:
            traffic(service, 100)

    wait_until(lambda: rollout_of(replicas[0]) is None, timeout_s=60.0)
    listed = replicas[1].client.get("/v1/policies").json()
    [ended] = listed["past_rollouts"]
    assert (ended["outcome"], ended["by"]) == ("rolled_back", "rollout watch")
    assert "quality -0." in ended["note"]
    assert f"in {reported} rounds" not in ended["note"]
    assert listed["active"] == incumbent.version

    def alone(service: ServiceProcess) -> bool:
        decision = service.route()
        found = service.trace(decision["decision_id"])
        return found.is_success and found.json()["decision"]["candidate"] == ""

    for service in replicas:
        wait_until(lambda service=service: alone(service))  # type: ignore[misc]
        assert service.route()["policy"]["version"] == incumbent.version  # type: ignore[index]
    told = [service.client.get("/metrics").text for service in replicas]
    assert sum('rag_router_rollbacks_total{by="watch"} 1.0' in text for text in told) == 1
    wait_until(
        lambda: all(
            "rag_router_rollout_stage 0.0" in service.client.get("/metrics").text
            for service in replicas
        )
    )
    assert sum("is rolled back" in service.log for service in replicas) == 1
    active = registry.active()
    assert active is not None
    assert active.version == incumbent.version
    assert registry.rollout() is None
