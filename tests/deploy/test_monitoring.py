"""A real Prometheus scrapes real replicas that get real traffic: rules and dashboard have data."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import redis
from click.testing import CliRunner

from policies.encoders import Encoder
from policies.registries.redis_registry import RedisPolicyRegistry
from policies.store_keys import StoreKeys
from tests.deploy.balancer import Balancer
from tests.deploy.expressions import metrics_of, panel_expressions, rules
from tests.deploy.prometheus_server import PrometheusServer
from tests.faulty_backend import FaultyBackend
from tests.router.api.test_policies import always
from tests.router.conftest import ADMIN
from tests.service_process import ServiceProcess
from tests.stores import StoreServer, wait_until
from training.cli import main

pytestmark = pytest.mark.slow

# `retrieve`'s model always fails: it falls back, and its breaker opens. `finetuned` has none.
CONFIG = """
[redis]
url = "{store}"
[models.sound]
base_url = "{sound}"
model = "sound"
price_per_1k = {{ input = 1.0, output = 1.0 }}
[models.broken]
base_url = "{broken}"
model = "broken"
retries = 0
[retrievers.docs]
kind = "http"
url = "{search}"
[arms.finetuned]
route = "finetuned"
model = "sound"
expected = {{ quality = 0.6, cost_usd = 0.01 }}
[arms.retrieve]
route = "retrieve"
model = "broken"
retriever = "docs"
expected = {{ quality = 0.6, cost_usd = 0.01 }}
[arms.hybrid]
route = "hybrid"
model = "sound"
retriever = "docs"
expected = {{ quality = 0.6, cost_usd = 0.01 }}
[budgets.daily]
metric = "cost_usd"
at_most = 0.05
[rollout]
min_rounds = 100000
"""


class Traffic(threading.Thread):
    """Decisions, reports, answers and mistakes, until told to stop."""

    def __init__(self, services: list[ServiceProcess], balancer: str) -> None:
        super().__init__()
        self._services, self._balancer = services, balancer
        self.stopping = threading.Event()
        self.wrong: list[str] = []

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            for service in self._services:
                number += 1
                self._visit(service, number)

    def _visit(self, service: ServiceProcess, number: int) -> None:
        decision = service.route(f"Who wrote book {number}?", objective="daily")
        report = {"decision_id": decision["decision_id"], "metric": "quality", "value": 0.5}
        asked = {"query": f"Who wrote novel {number}?", "objective": "daily"}
        chat = {
            "model": "auto",
            "messages": [{"role": "user", "content": asked["query"]}],
            "stream": True,
        }
        balanced = f"http://{self._balancer}/v1/route"
        expected = (
            (service.client.post(balanced, json={"query": "Who?"}), 200),
            (service.client.post("/v1/feedback", json=report), 202),
            (service.client.post("/v1/answer", json=asked), 200),
            (service.client.post("/v1/chat/completions", json=chat), 200),
            (service.client.post("/v1/route", json={"query": ""}), 400),
        )
        self.wrong += [answer.text for answer, status in expected if answer.status_code != status]


class Monitored(NamedTuple):
    """Prometheus, and the replicas that it scrapes: the second has two workers."""

    prometheus: PrometheusServer
    replicas: list[ServiceProcess]
    traffic: Traffic


def put_policies(url: str, service: ServiceProcess, encoder: Encoder) -> None:
    """One serves, another is in canary."""
    incumbent, candidate = always("hybrid", encoder), always("retrieve", encoder)
    with redis.Redis.from_url(url) as client:
        registry = RedisPolicyRegistry(client)
        for artifact in (incumbent, candidate):
            registry.publish(artifact)
    for path, body in (
        (f"{incumbent.version}/activate", {}),
        (f"{candidate.version}/canary", {"share": 0.3}),
    ):
        answer = service.client.post(f"/v1/policies/{path}", json=body or None, headers=ADMIN)
        answer.raise_for_status()


def address_of(service: ServiceProcess) -> str:
    """Host and port."""
    return service.url.removeprefix("http://")


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Iterator[Monitored]:
    """Replicas with every feature in use, an export that has run, and Prometheus."""
    directory = tmp_path_factory.mktemp("monitored")
    passages = [{"id": "emma", "text": "Jane Austen wrote Emma.", "score": 0.9}]
    with (
        running_store() as store,
        FaultyBackend(passages=passages) as sound,
        FaultyBackend("status:500") as broken,
    ):
        config = CONFIG.format(
            store=store.url, sound=sound.base_url, broken=broken.base_url, search=sound.search_url
        )
        with (
            ServiceProcess(directory / "one", config=config) as one,
            ServiceProcess(directory / "two", "--workers", "2", config=config) as two,
            Balancer(directory, [address_of(one), address_of(two)]) as balancer,
        ):
            put_policies(store.url, one, encoder)
            one.route()
            # A decision is logged a moment after it is answered.
            wait_until(lambda: decisions_in(store.url) > 0)
            exported = CliRunner().invoke(
                main, ["export", "--from", store.url, "--to", str(directory / "logs"), "--json"]
            )
            assert exported.exit_code == 0, exported.output
            targets = {
                "router": [address_of(one), address_of(two)],
                "balancer": [balancer.operations],
            }
            (directory / "prometheus").mkdir()
            traffic = Traffic([one, two], balancer.address)
            with PrometheusServer(directory / "prometheus", targets) as prometheus:
                traffic.start()
                yield Monitored(prometheus, [one, two], traffic)
                traffic.stopping.set()
                traffic.join()


@contextmanager
def running_store() -> Iterator[StoreServer]:
    """A store of these replicas' own."""
    store = StoreServer("valkey")
    store.start()
    try:
        yield store
    finally:
        store.remove()


def decisions_in(url: str) -> int:
    """How many the store holds."""
    with redis.Redis.from_url(url) as client:
        return int(client.xlen(StoreKeys().decisions))


def test_every_panel_has_data(monitored: Monitored) -> None:
    """Each query of each panel."""
    for title, expression in panel_expressions():
        print(title, expression, sep=": ")  # to be seen where it stays empty
        wait_until(lambda query=expression: monitored.prometheus.query(query), timeout_s=60.0)  # type: ignore[misc]
    assert monitored.traffic.wrong == []


def test_every_rule_is_evaluated_without_an_error(monitored: Monitored) -> None:
    """Such as two series where one is to be matched."""
    wait_until(lambda: monitored.prometheus.query("job_outcome:rag_router_answers:share5m"))
    wait_until(lambda: all(rule["health"] == "ok" for rule in monitored.prometheus.rules()))


def test_the_rules_ask_the_balancer_for_what_it_has(monitored: Monitored) -> None:
    """The service's own metrics are held against it in test_dashboard."""
    asked = {metric for rule in rules() for metric in metrics_of(rule["expr"])}
    of_haproxy = sorted(metric for metric in asked if metric.startswith("haproxy_"))
    assert of_haproxy
    for metric in of_haproxy:
        wait_until(lambda name=metric: monitored.prometheus.query(name))  # type: ignore[misc]


def test_both_replicas_tell_of_what_they_share(monitored: Monitored) -> None:
    """One policy and one store, also from workers that share a replica."""

    def values(expression: str) -> list[float]:
        return [float(one["value"][1]) for one in monitored.prometheus.query(expression)]

    wait_until(lambda: len(monitored.prometheus.query("rag_router_store_entries")) == 4)
    assert values("count(up{job='router'} == 1)") == [2.0]
    assert values("count(count by (version) (rag_router_policy_serving == 1))") == [1.0]
    assert values("count(rag_router_rollout_stage == 2)") == [2.0]
    (since,) = values("time() - max(rag_router_last_success_timestamp_seconds{run='export'})")
    assert 0.0 <= since < 300.0


def test_nothing_critical_fires_on_sound_replicas(monitored: Monitored) -> None:
    """The broken model degrades answers, which is told at leisure."""
    wait_until(lambda: monitored.prometheus.query("job:rag_router_errors:share5m"))
    severities: dict[str, Any] = {
        rule["name"]: rule["labels"]["severity"]
        for rule in monitored.prometheus.rules()
        if rule["type"] == "alerting"
    }
    assert {
        name for name in monitored.prometheus.firing() if severities[name] == "critical"
    } == set()
