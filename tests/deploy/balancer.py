"""A real HAProxy in front of replicas, with the names that deploy/haproxy gives its parts."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.deploy.prometheus_server import free_port, program
from tests.stores import wait_until

_CONFIG = """
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
frontend public
    bind 127.0.0.1:{port}
    default_backend repeatable
backend repeatable
    option httpchk GET /health/ready
    default-server check inter 200ms
{servers}
frontend operations
    bind 127.0.0.1:{operations}
    http-request use-service prometheus-exporter if {{ path /metrics }}
"""


class Balancer:
    """Ended by its own process id."""

    def __init__(self, directory: Path, replicas: Sequence[str]) -> None:
        """Write a configuration for these addresses into a directory."""
        ports = free_port(), free_port()
        self.address, self.operations = (f"127.0.0.1:{port}" for port in ports)
        servers = [
            f"    server router-{number} {replica}" for number, replica in enumerate(replicas, 1)
        ]
        self._path = directory / "haproxy.cfg"
        self._path.write_text(
            _CONFIG.format(port=ports[0], operations=ports[1], servers="\n".join(servers)),
            encoding="utf-8",
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [program("haproxy"), "-db", "-f", str(self._path)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers)
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None
        try:
            return httpx.get(f"http://{self.address}/health/ready").is_success
        except httpx.TransportError:
            return False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=30)
