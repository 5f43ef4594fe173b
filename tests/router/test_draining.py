"""A replica that is told to stop says so first, and serves until balancers have noticed."""

import signal
from pathlib import Path

import pytest

from tests.service_process import ServiceProcess
from tests.stores import wait_until


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_serves_on_while_it_says_that_it_is_about_to_stop(tmp_path: Path, workers: str) -> None:
    with ServiceProcess(tmp_path / "data", "--workers", workers, "--drain", "3") as service:
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: service.client.get("/health/ready").status_code == 503)
        assert service.client.get("/health/ready").json()["status"] == "stopping"
        decision_id = service.route()["decision_id"]
        assert service.process.wait(timeout=30) == 0
        assert "stopping" not in service.start().client.get("/health/ready").text
        assert service.trace(decision_id).is_success


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path / "data", "--drain", "600") as service:
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: service.client.get("/health/ready").status_code == 503)
        assert service.stop() == 0
