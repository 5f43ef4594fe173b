"""deploy/haproxy with a real HAProxy in front of real replicas: what it hides, what it sends."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.deploy.balancer import Balancer
from tests.deploy.prometheus_server import free_port
from tests.service_process import ServiceProcess

DRAIN = next(
    word.split("=")[1]
    for word in (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8").split()
    if word.startswith("--drain=")
)


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[list[ServiceProcess]]:
    """Two of them, stopped as compose.yaml has them stopped, each on a port that it keeps."""
    options = [("--port", str(free_port()), "--drain", DRAIN) for _ in range(2)]
    one, two = (ServiceProcess(tmp_path / own[1], *own) for own in options)
    with one, two:
        yield [one, two]


@pytest.fixture
def balancer(tmp_path: Path, replicas: list[ServiceProcess]) -> Iterator[Balancer]:
    with Balancer(tmp_path, [one.url.removeprefix("http://") for one in replicas]) as running:
        yield running


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/metrics/", "/%6detrics", "//metrics", "/v1/../metrics", "/v1/%2e%2e/metrics"],
)
def test_metrics_stay_inside_however_they_are_spelt(balancer: Balancer, path: str) -> None:
    with httpx.Client() as client:
        url = httpx.URL(f"http://{balancer.address}").copy_with(raw_path=path.encode())
        assert client.get(url).status_code == 404


@pytest.mark.parametrize("path", ["/health/live", "/v1/policies", "/schema/openapi.json"])
def test_what_callers_need_gets_through(balancer: Balancer, path: str) -> None:
    assert httpx.get(f"http://{balancer.address}{path}").status_code == 200


def test_a_replica_that_stops_fails_nothing_that_may_be_sent_only_once(
    balancer: Balancer, replicas: list[ServiceProcess]
) -> None:
    """Feedback without an Idempotency-Key, as answers: twelve callers, two stops."""
    with httpx.Client(base_url=f"http://{balancer.address}") as client:
        decided = client.post("/v1/route", json={"query": "Who?"}).json()["decision_id"]
    feedback = {"decision_id": decided, "metric": "quality", "value": 1.0}
    stopping, failed, accepted = threading.Event(), list[str](), list[str]()

    def call() -> None:
        with httpx.Client(base_url=f"http://{balancer.address}", timeout=30.0) as client:
            while not stopping.wait(0.005):
                try:
                    status = client.post("/v1/feedback", json=feedback).status_code
                    (accepted if status == 202 else failed).append(str(status))
                except httpx.HTTPError as error:
                    failed.append(repr(error))

    callers = [threading.Thread(target=call) for _ in range(12)]
    for caller in callers:
        caller.start()
    for _ in range(2):
        assert replicas[0].stop() == 0
        replicas[0].start()
    stopping.set()
    for caller in callers:
        caller.join(timeout=60)
    assert failed == []
    assert len(accepted) > 100
