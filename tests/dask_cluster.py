"""A real Dask cluster on this machine: a scheduler and workers, each a process of its own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from distributed import Client

ROOT = Path(__file__).parent.parent
START_S = 60.0


class DaskCluster:
    """Its scheduler's address, and its workers' processes."""

    def __init__(self, address: str, workers: list[subprocess.Popen[bytes]]) -> None:
        self.address = address
        self.workers = workers

    def kill_a_worker(self) -> None:
        """Kill -9 the first that runs, and wait until it is gone."""
        process = next(worker for worker in self.workers if worker.poll() is None)
        process.kill()
        process.wait()


@contextmanager
def dask_cluster(workers: int, directory: Path, *, package: bool = True) -> Iterator[DaskCluster]:
    """A cluster of so many workers of one thread; its logs go to the directory.

    Without `package` its processes can't import this project.
    """
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    worker = ["worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard"]
    worker += ["--no-nanny", "--local-directory", str(directory)]
    env = {} if package else {"PYTHONPATH": str(_hidden(directory)), "PYTHONSAFEPATH": "1"}
    commands = [dask(*scheduler), *[dask(*worker)] * workers]
    with processes(commands, directory, env) as started:
        wait_for_workers(address, workers)
        yield DaskCluster(address, started[1:])


def _hidden(directory: Path) -> Path:
    """Where `training` is found first and can't be imported, installed or not."""
    path = directory / "hidden"
    path.mkdir()
    (path / "training.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'training'\", name='training')\n"
    )
    return path


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def dask(*arguments: str) -> list[str]:
    """The command line of a dask command."""
    return [sys.executable, "-m", "dask", *arguments]


def wait_for_workers(address: str, count: int) -> None:
    """Until so many have joined the scheduler."""
    with Client(address, timeout=START_S) as client:
        client.wait_for_workers(count, timeout=START_S)


@contextmanager
def processes(
    commands: Sequence[list[str]], directory: Path, env: Mapping[str, str] = {}
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Started commands, that are terminated with the block; each one's output goes to a file."""
    started: list[subprocess.Popen[bytes]] = []
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env}
    try:
        for number, command in enumerate(commands):
            with (directory / f"process-{number}.log").open("wb") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log, env=surroundings)
            started.append(process)
        yield started
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
