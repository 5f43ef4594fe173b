"""deploy/compose.yaml, built and up on an engine, with the images that compose.ci.yaml swaps in."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq

from policies.version import VERSION
from tests.conftest import ROOT
from tests.dask_cluster import free_port
from tests.deploy.base_image import BASE_IMAGE
from tests.deploy.engine import Engine, compose_program
from tests.stores import wait_until

REPLICAS = ("router-1", "router-2")
COMPOSE_FILES = ("compose.yaml", "compose.ci.yaml")
# Grafana is left out: there is no package of it to make an image from.
SERVICES = (*REPLICAS, "balancer", "store", "exporter", "trainer", "prometheus")
HOME = Path("/var/lib/rag-router")
SECRETS = {
    # With what a configuration file would take for its own.
    "STORE_PASSWORD": 'store 5f2c"9d\\4e',
    "ROUTER_API_KEYS": "caller-81b7aa02",
    "ROUTER_ADMIN_KEY": "admin-c40f6e19",
    "GRAFANA_PASSWORD": "grafana-unused",
}


class Deployment:
    """All services of one project on one engine."""

    def __init__(self, engine: Engine, pip_configuration: Path) -> None:
        """Store what is needed; `build` and `up` do the work."""
        self.engine = engine
        self.port, self.prometheus_port = free_port(), free_port()
        # What of the configuration no image may name.
        self.package_indexes = re.findall(r"https?://\S+", pip_configuration.read_text())
        self.environ = {
            **engine.environ,
            **SECRETS,
            "PIP_CONF": str(pip_configuration),
            "BASE_IMAGE": BASE_IMAGE,
            "VERSION": VERSION,
            "REVISION": "test",
            # The wheels that pip is configured with; and no torch, whose image takes minutes.
            "TORCH_INDEX": "",
            "TRAINER_EXTRAS": "",
            "EXPORT_EVERY": "2s",
            "ROUTER_PORT": str(self.port),
            "PROMETHEUS_PORT": str(self.prometheus_port),
        }
        headers = {"Authorization": f"Bearer {SECRETS['ROUTER_API_KEYS']}"}
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=30.0
        )

    def compose(self, *arguments: str, timeout_s: float = 300.0, status: int = 0) -> str:
        """What `docker compose ARGUMENTS` prints on standard output."""
        program = compose_program()
        assert program is not None
        files = [f"--file={ROOT / 'deploy' / name}" for name in COMPOSE_FILES]
        done = subprocess.run(
            [program, *files, *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        said = f"docker compose {' '.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-6000:]}"
        assert done.returncode == status, said
        return done.stdout

    def build(self) -> None:
        """All images, in the order in which the build stages need each other."""
        self.compose("build", *SERVICES, timeout_s=900.0)

    def up(self, *services: str) -> None:
        """Start these services, all of them by default, and wait until they are healthy."""
        self.compose("up", "--detach", "--no-build", "--wait", *(services or SERVICES))

    def container(self, service: str) -> str:
        """The id of a service's one container."""
        return self.compose("ps", "--all", "--quiet", service).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine says of a service's container."""
        (found,) = json.loads(self.engine.docker("inspect", self.container(service)))
        assert isinstance(found, dict)
        return found

    def wait_until_healthy(self, service: str) -> None:
        """Return once the service's own health check passes."""
        wait_until(
            lambda: self.inspect(service)["State"]["Health"]["Status"] == "healthy", timeout_s=60.0
        )

    def in_replica(self, service: str, path: str) -> Any:
        """What one replica itself answers, past the balancer."""
        script = (
            "import os, sys, urllib.request as u\n"
            f"r = u.Request('http://127.0.0.1:8000{path}')\n"
            "r.add_header('Authorization', 'Bearer ' + os.environ['ROUTER_API_KEYS'])\n"
            "sys.stdout.write(u.urlopen(r, timeout=10).read().decode())"
        )
        return json.loads(self.compose("exec", "-T", service, "python", "-c", script))

    def train(self, *arguments: str) -> Any:
        """What `rag-policy ARGUMENTS --json` prints in the trainer's container."""
        return json.loads(self.compose("exec", "-T", "trainer", "rag-policy", *arguments, "--json"))

    def folder(self, volume: str) -> Path:
        """Where a volume lies on this machine."""
        (found,) = json.loads(self.engine.docker("volume", "inspect", f"rag-router_{volume}"))
        return Path(found["Mountpoint"])

    def exported(self, table: str, column: str) -> set[str]:
        """A column of what the exporter has written so far."""
        folder = self.folder("training") / "logs" / table
        return {
            str(value)
            for file in folder.rglob("*.parquet")
            for value in pq.read_table(file, columns=[column], partitioning=None)
            .column(column)
            .to_pylist()
        }

    def logs(self, service: str) -> str:
        """What a service has said."""
        return self.compose("logs", "--no-color", service)

    def down(self) -> None:
        """Stop and remove everything, data included."""
        self.client.close()
        self.compose("down", "--volumes", "--timeout", "5")
