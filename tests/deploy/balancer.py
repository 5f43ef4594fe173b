"""A real HAProxy in front of replicas, as deploy/haproxy configures it."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.conftest import ROOT
from tests.deploy.prometheus_server import free_port, program
from tests.stores import wait_until

_CONFIG = ROOT / "deploy" / "haproxy" / "haproxy.cfg"


class Balancer:
    """Ended by its own process id."""

    def __init__(self, directory: Path, replicas: Sequence[str]) -> None:
        """Write a configuration for these addresses into a directory."""
        ports = free_port(), free_port()
        self.address, self.operations = (f"127.0.0.1:{port}" for port in ports)
        self._path = directory / "haproxy.cfg"
        self._path.write_text(self._configured(replicas), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def _configured(self, replicas: Sequence[str]) -> str:
        """The shipped configuration with this machine's addresses; names aren't looked up."""
        text = _CONFIG.read_text(encoding="utf-8")
        text = re.sub(r"^resolvers engine\n(    .*\n)*", "", text, flags=re.MULTILINE)
        text = text.replace(" resolvers engine init-addr last,libc,none", "")
        for shipped, here in (
            ("bind :8080", f"bind {self.address}"),
            ("bind :8405", f"bind {self.operations}"),
            *((f" router-{number}:8000", f" {at}") for number, at in enumerate(replicas, 1)),
        ):
            assert shipped in text
            text = text.replace(shipped, here)
        return text

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
