"""What /metrics says of a replica itself, and of its store."""

import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from policies.encoders import Encoder
from policies.store_keys import StoreKeys
from policies.version import VERSION
from router.log.store_state import StoreState
from router.metrics import Metrics
from tests.router.api.test_policies import always, served_version
from tests.router.conftest import ADMIN, Service
from tests.service_process import ServiceProcess
from tests.stores import StoreServer, wait_until


def samples(text: str) -> dict[tuple[str, ...], float]:
    """By name and label values, without the prefix that all share."""
    return {
        (sample.name.removeprefix("rag_router_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scraped(service: Service) -> dict[tuple[str, ...], float]:
    return samples((await service.client.get("/metrics")).text)


async def test_a_replica_tells_its_release_arms_and_memory(service: Service) -> None:
    found = await scraped(service)
    assert found["build_info", VERSION] == 1
    assert {key[1:] for key in found if key[0] == "arm_info"} == {
        (route, route) for route in ("finetuned", "retrieve", "hybrid")
    }
    assert 10e6 < found["memory_bytes",] < 10e9
    assert 0 <= time.time() - found["start_time_seconds",] < 300


async def test_one_policy_serves_and_earlier_ones_are_zero(
    service: Service, encoder: Encoder
) -> None:
    rules = await served_version(service)
    assert (await scraped(service))["policy_serving", rules] == 1
    policy = always("hybrid", encoder)
    service.registry.publish(policy)
    await service.client.post(f"/v1/policies/{policy.version}/activate", headers=ADMIN)
    found = await scraped(service)
    assert (found["policy_serving", rules], found["policy_serving", policy.version]) == (0, 1)
    assert (found["policy_refused", "active"], found["policy_fallback",]) == (0, 0)


async def test_a_policy_that_doesnt_fit_is_refused_until_another_is_active(
    service: Service, encoder: Encoder
) -> None:
    """A state, not a count: it stays while the replica keeps its incumbent."""
    misfit = always("hybrid", encoder, version="another encoder's features")
    service.registry.publish(misfit)
    service.registry.activate(misfit.version)
    while (await scraped(service))["policy_refused", "active"] == 0:
        pass
    service.registry.rollback()
    while (await scraped(service))["policy_refused", "active"] == 1:
        pass


async def test_errors_are_counted_by_status(service: Service) -> None:
    """Statuses that are alerted on count from 0."""
    before = await scraped(service)
    assert [before["problems_total", status] for status in ("500", "503")] == [0, 0]
    await service.client.post("/v1/route", json={"query": " "})
    await service.client.get("/nowhere")
    found = await scraped(service)
    assert (found["problems_total", "400"], found["problems_total", "404"]) == (1, 1)


def test_a_store_that_was_never_seen_is_not_told_of() -> None:
    """Zeros would look like an empty store."""
    metrics = Metrics()
    metrics.service.observe_store(None)
    assert not [key for key in samples(metrics.render().decode()) if key[0] == "store_entries"]
    metrics.service.observe_store(StoreState(decisions=3, last_runs={"export": 5.0}))
    found = samples(metrics.render().decode())
    assert (found["store_entries", "decisions"], found["store_entries", "feedback"]) == (3, 0)
    assert found["last_success_timestamp_seconds", "export"] == 5.0
    assert found["last_success_timestamp_seconds", "training"] == 0.0


def test_two_workers_tell_of_one_replica(tmp_path: Path, valkey_server: StoreServer) -> None:
    """Memory is added up; states are not."""
    with valkey_server.client() as client:
        client.config_set("maxmemory", 10**9)
        client.xadd("{rag}:decisions", {"e": b"?"})
        client.hset(StoreKeys().last_runs, "export", 1234.5)
    config = f'[redis]\nurl = "{valkey_server.url}"\n'
    with ServiceProcess(tmp_path / "data", "--workers", "2", config=config) as service:

        def found() -> dict[tuple[str, ...], float]:
            return samples(service.client.get("/metrics").text)

        wait_until(lambda: ("store_limit_bytes",) in found())
        rules = service.route()["policy"]["version"]  # type: ignore[index]
        wait_until(lambda: found()["store_entries", "decisions"] >= 1)
        one = found()
    assert one["policy_serving", rules] == one["arm_info", "hybrid", "hybrid"] == 1
    assert one["store_limit_bytes",] == 10**9
    assert 0 < one["store_used_bytes",] < 10**9
    assert one["last_success_timestamp_seconds", "export"] == 1234.5
    assert one["rollbacks_total", "watch"] == 0
