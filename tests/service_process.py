"""The real service: `rag-router serve` in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.stores import wait_until

ADMIN_KEY = "admin-secret"


class ServiceProcess:
    """Starts on a free port of the loopback interface; ended by its own process id."""

    def __init__(
        self,
        data: Path,
        *options: str,
        config: str | None = None,
        environ: Mapping[str, str] = {},
    ) -> None:
        self.data = data
        self._options = list(options)
        self._config = config
        self._environ = dict(environ)
        self._log = Path(tempfile.mkstemp(prefix="service-", suffix=".log")[1])
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client()

    def start(self) -> Self:
        """Start, and return once it answers."""
        command = [sys.executable, "-m", "router.cli", "serve", "--port", "0"]
        command += ["--data", str(self.data), *self._options]
        if self._config is not None:
            path = self.data.with_name(f"{self.data.name}.toml")
            path.write_text(self._config, encoding="utf-8")
            command += ["--config", str(path)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, "RAG_ROUTER_ADMIN_KEY": ADMIN_KEY, **self._environ},
            )
        wait_until(self._answers)
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        found = re.search(r"running on (http://[\d.:]+)", self.log)
        if found is None:
            return False
        if self.client.base_url != found.group(1):
            self.client.close()
            self.client = httpx.Client(base_url=found.group(1), timeout=20.0)
        try:
            return self.client.get("/health/ready").is_success
        except httpx.TransportError:
            return False

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def route(self, query: str = "Who wrote Emma?", **fields: object) -> dict[str, object]:
        """One decision."""
        response = self.client.post("/v1/route", json={"query": query, **fields})
        response.raise_for_status()
        decision: dict[str, object] = response.json()
        return decision

    def trace(self, decision_id: object) -> httpx.Response:
        """What the log holds of one decision."""
        return self.client.get(f"/v1/decisions/{decision_id}")

    def stop(self) -> int:
        """End it as an orchestrator would; its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.stop()
        self._log.unlink(missing_ok=True)
