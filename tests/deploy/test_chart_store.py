"""The store that the chart brings, run by the pod's own command line."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.dask_cluster import free_port
from tests.deploy.kubernetes_tools import (
    Document,
    container,
    documents,
    environment,
    named,
    program,
)
from tests.stores import binary_of, wait_until


@contextmanager
def bundled_store(found: list[Document], directory: Path, password: str) -> Iterator[int]:
    """The port of the bundled store, run by the pod's own command line; ended by its id."""
    binaries = directory / "bin"
    binaries.mkdir()
    (binaries / "valkey-server").symlink_to(binary_of("valkey"))
    client = program("redis-cli", "apt-get install redis-tools")
    (binaries / "valkey-cli").symlink_to(client)
    port, pod = free_port(), container(found, "redis")
    text = named(found, "ConfigMap", "-redis")["data"]["valkey.conf"]
    text = text.replace("port 6379", f"port {port}\nbind 127.0.0.1").replace(
        "/data", str(directory)
    )
    (directory / "valkey.conf").write_text(text, encoding="utf-8")
    command = [
        part.replace("/etc/valkey", str(directory)) for part in (*pod["command"], *pod["args"])
    ]
    environ = {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        **({"REDISCLI_AUTH": password} if "REDISCLI_AUTH" in environment(pod) else {}),
    }
    probe = [
        part.replace("valkey-cli", f"valkey-cli -p {port}")
        for part in pod["readinessProbe"]["exec"]["command"]
    ]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: subprocess.run(probe, env=environ, check=False).returncode == 0)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize("secret", ["", "store"])
def test_the_bundled_store_keeps_what_it_acknowledges(tmp_path: Path, secret: str) -> None:
    password = "9f2c-a1" if secret else ""
    found = documents("minimal", f"--set=redis.existingSecret={secret}")
    with (
        bundled_store(found, tmp_path, password) as port,
        redis.Redis(port=port, password=password or None) as client,
    ):
        kept = client.config_get("append*", "maxmemory*", "save", "dir")
        assert kept["appendonly"] == "yes"
        assert kept["appendfsync"] == "always"
        assert kept["maxmemory-policy"] == "noeviction"
        assert int(kept["maxmemory"]) == 1536 * 2**20
        assert (tmp_path / kept["appenddirname"]).is_dir()
        if secret:
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(port=port).ping()
