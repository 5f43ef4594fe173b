"""A real Prometheus, and the programs that come with it."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from tests.conftest import ROOT
from tests.deploy.missing import missing
from tests.stores import wait_until

CONFIGURATION = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "adaptive-rag-router.json"


def program(name: str) -> str:
    """The path of a program of Debian's packages `prometheus` and `haproxy`."""
    # Debian has it where only root looks.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    return found or missing(f"{name} isn't installed: apt-get install prometheus haproxy")


class PrometheusServer:
    """Scrapes every second, with the shipped rules; ended by its own process id."""

    def __init__(self, directory: Path, targets: Mapping[str, Sequence[str]]) -> None:
        """Write a configuration into an empty directory.

        Args:
            directory: for its configuration and data.
            targets: by job, the addresses to scrape.
        """
        self._directory = directory
        shipped = yaml.safe_load((CONFIGURATION / "prometheus.yml").read_text(encoding="utf-8"))
        shipped["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        shipped["rule_files"] = [str(CONFIGURATION / name) for name in shipped["rule_files"]]
        jobs = {job["job_name"]: job for job in shipped["scrape_configs"]}
        shipped["scrape_configs"] = [
            {**jobs[job], "static_configs": [{"targets": list(addresses)}]}
            for job, addresses in targets.items()
        ]
        (directory / "prometheus.yml").write_text(yaml.safe_dump(shipped), encoding="utf-8")
        self._log = Path(tempfile.mkstemp(prefix="prometheus-", suffix=".log")[1])
        self._process: subprocess.Popen[bytes] | None = None
        self._listen = f"127.0.0.1:{free_port()}"
        self._client = httpx.Client(base_url=f"http://{self._listen}", timeout=10.0)

    def __enter__(self) -> Self:
        command = [program("prometheus"), f"--config.file={self._directory / 'prometheus.yml'}"]
        command += [f"--storage.tsdb.path={self._directory / 'data'}"]
        command += [f"--web.listen-address={self._listen}"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._ready)
        return self

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text(errors="replace")
        try:
            return self._client.get("/-/ready").is_success
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an instant query gives now; fails the test where it is wrong."""
        answer = self._client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer['error']}"
        result = answer["data"]["result"]
        return result if answer["data"]["resultType"] == "vector" else [{"value": result}]

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        alerts = self._client.get("/api/v1/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with their health."""
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=30)
        self._log.unlink(missing_ok=True)


def free_port() -> int:
    """A port of the loopback interface that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
