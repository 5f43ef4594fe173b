"""Promotion reaches running replicas while they serve, whole, and within two seconds."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from policies.artifact import MANIFEST, TENSORS
from policies.encoders import Encoder
from policies.registries.redis_registry import RedisPolicyRegistry
from policies.store_keys import StoreKeys
from tests.router.api.test_policies import always
from tests.service_load import Load, running
from tests.service_process import ServiceProcess
from tests.stores import StoreServer, wait_until

REPLICAS = 2
SWAP_BOUND_S = 2.0


@pytest.fixture
def registry(valkey_url: str) -> Iterator[RedisPolicyRegistry]:
    client = redis.Redis.from_url(valkey_url)
    yield RedisPolicyRegistry(client)
    client.close()


@pytest.fixture
def replicas(tmp_path: Path, valkey_url: str) -> Iterator[list[ServiceProcess]]:
    config = f'[redis]\nurl = "{valkey_url}"\n'
    services = [ServiceProcess(tmp_path / f"data{n}", config=config) for n in range(REPLICAS)]
    for service in services:
        service.start()
    yield services
    for service in services:
        service.__exit__(None, None, None)


class Decisions(Load):
    """Asks for decisions, and keeps when which policy ranked the arms how."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.served: list[tuple[float, str, str, float]] = []

    def send(self, client: httpx.Client) -> None:
        response = client.post("/v1/route", json={"query": "Who wrote Emma?"})
        if not response.is_success:
            self.failures.append(response.text)
            return
        body = response.json()
        best = max(body["arms"], key=lambda outlook: outlook["utility"])
        total = sum(outlook["probability"] for outlook in body["arms"])
        version = body["policy"]["version"]
        self.served.append((time.monotonic(), version, best["arm"], total))


def test_promotion_and_rollback_reach_every_replica_under_load_without_a_failure(
    replicas: list[ServiceProcess], registry: RedisPolicyRegistry, encoder: Encoder
) -> None:
    policies = {arm: always(arm, encoder) for arm in ("finetuned", "retrieve", "hybrid")}
    for artifact in policies.values():
        registry.publish(artifact)
    loads = [Decisions(service.url) for service in replicas]
    changes: list[tuple[float, str]] = []

    def change_to(version: str) -> None:
        changes.append((time.monotonic(), version))
        wait_until(lambda: all(load.served and load.served[-1][1] == version for load in loads))

    with running(loads):
        for artifact in policies.values():
            registry.activate(artifact.version)
            change_to(artifact.version)
        registry.rollback()
        change_to(policies["retrieve"].version)

    arm_of = {artifact.version: arm for arm, artifact in policies.items()}
    for load in loads:
        assert load.failures == []
        # Half a policy would name one version and rank the arms by another.
        assert all(arm_of.get(version, arm) == arm for _, version, arm, _ in load.served)
        assert all(total == pytest.approx(1.0) for *_, total in load.served)
        for changed, version in changes:
            first = min(at for at, name, *_ in load.served if at > changed and name == version)
            assert first - changed < SWAP_BOUND_S


def test_a_bad_policy_made_active_leaves_every_replica_on_its_incumbent(
    replicas: list[ServiceProcess], registry: RedisPolicyRegistry, encoder: Encoder
) -> None:
    good = always("hybrid", encoder)
    stranger = always("a", encoder, arms=["a", "b"])
    for artifact in (good, stranger):
        registry.publish(artifact)
    registry.activate(good.version)
    wait_until(
        lambda: all(s.route()["policy"]["version"] == good.version for s in replicas)  # type: ignore[index]
    )
    registry.activate(stranger.version)
    wait_until(lambda: all(status.refused for status in registry.replicas()))
    for service in replicas:
        assert service.route()["policy"]["version"] == good.version  # type: ignore[index]
    assert len(registry.replicas()) == REPLICAS


def test_a_restarted_replica_serves_the_promoted_policy_even_without_its_store(
    tmp_path: Path, valkey_server: StoreServer, encoder: Encoder
) -> None:
    artifact = always("retrieve", encoder)
    with valkey_server.client() as client:
        store = RedisPolicyRegistry(client)
        store.publish(artifact)
        store.activate(artifact.version)
    config = f'[redis]\nurl = "{valkey_server.url}"\n'
    with ServiceProcess(tmp_path / "data", config=config) as service:
        assert service.route()["policy"]["version"] == artifact.version  # type: ignore[index]
        service.stop()
        valkey_server.kill()
        service.start()
        decision = service.route()
        assert decision["policy"]["version"] == artifact.version  # type: ignore[index]
        assert "cached on disk" in str(decision["fallback"])


def test_the_incumbent_stays_across_a_restart_when_the_active_policy_does_not_fit(
    tmp_path: Path, valkey_server: StoreServer, encoder: Encoder
) -> None:
    good, stranger = always("retrieve", encoder), always("a", encoder, arms=["a", "b"])
    config = f'[redis]\nurl = "{valkey_server.url}"\n'
    with valkey_server.client() as client:
        registry = RedisPolicyRegistry(client)
        for artifact in (good, stranger):
            registry.publish(artifact)
        registry.activate(good.version)
        with ServiceProcess(tmp_path / "data", config=config) as service:
            registry.activate(stranger.version)
            wait_until(lambda: service.client.get("/health/ready").json()["status"] == "degraded")
            service.stop()
            service.start()
            decision = service.route()
            assert decision["policy"]["version"] == good.version  # type: ignore[index]
            assert "refused" in str(decision["fallback"])
            ready = service.client.get("/health/ready").json()
            assert "doesn't know the configured arms" in ready["refused"]


def test_a_policy_that_cannot_be_loaded_keeps_nobody_from_starting(
    tmp_path: Path, valkey_server: StoreServer
) -> None:
    files = {MANIFEST: b'{"kind": "linear", "name": "\xff"}', TENSORS: b"garbage"}
    with valkey_server.client() as client:
        keys = StoreKeys()
        client.hset(keys.policy("deadbeef"), mapping=files)  # type: ignore[arg-type]
        client.sadd(keys.policies, "deadbeef")
        RedisPolicyRegistry(client).activate("deadbeef")
    config = f'[redis]\nurl = "{valkey_server.url}"\n'
    with ServiceProcess(tmp_path / "data", config=config) as service:
        assert service.route()["policy"]["name"] == "rules"  # type: ignore[index]
        assert service.client.get("/v1/policies").json()["active"] == "deadbeef"
