"""What training and evaluation of a large log take: rows against seconds and memory.

    python benchmarks/training_at_scale.py [--rows 100000 1000000] [--engine local|dask]
        [--workers 2] [--seed 0] [--directory DIR] [--keep] [--json FILE]

For each number of rows: writes a log of that many decisions to DIR (the system's temporary
directory without; about 0.6 GB a million, and twice that again while it is shuffled), runs
`rag-policy train` and `rag-policy evaluate` on it as they are run by hand, and prints their seconds
by the clock and of processor time (which others at work on the machine change less) and the
greatest memory that the command and its processes held at once (proportional set size, sampled ten
times a second), beside what the trained policy is truly worth, what the best policy
would be, and the best fixed arm. A log that is there already is not written again.

With `--engine dask` the commands run on a cluster of that many worker processes. They count, and so
does this process, in which the scheduler runs.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import contextlib
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench_report import Report, Row, write_report
from large_log import ARMS, WEIGHTS, fresh_queries, mean_utilities, world_of, write_large_log
from processes import cpu_seconds

from policies.artifact import read_artifact
from policies.loading import load_policy
from policies.policy import utilities

_COMMAND = [sys.executable, "-c", "from training.cli import main; main()"]
_JUDGED = 100_000
_EVERY_S = 0.1


class Run(NamedTuple):
    """Seconds by the clock and of processor time, and the most megabytes at once."""

    seconds: float
    processor_seconds: float
    megabytes: float


def measured(command: list[str], others: list[int]) -> Run:
    """Run a command to its end; `others` are processes that count with theirs."""
    start, spent = time.perf_counter(), _processor_seconds(others)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    most = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(_EVERY_S):
            most = max(most, sum(map(_megabytes, set(_with_children([process.pid, *others])))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, errors = process.communicate()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(errors.decode())
    return Run(seconds, _processor_seconds(others) - spent, most)


def _processor_seconds(pids: list[int]) -> float:
    """Of all commands that have ended, and of these processes."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + cpu_seconds(pids)


def _with_children(pids: list[int]) -> list[int]:
    found, left = [], list(pids)
    while left:
        pid = left.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
            left += [int(child) for child in text.split()]
    return found


def _megabytes(pid: int) -> float:
    """A process's memory; what it shares counts in part."""
    with contextlib.suppress(OSError, IndexError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        return float(text.split("Pss:")[1].split()[0]) / 1024
    return 0.0


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[tuple[list[str], list[int]]]:
    """Options that name a cluster of this machine, and its processes."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
    ) as started:
        # The scheduler runs in this process.
        pids = [os.getpid(), *(worker.pid for worker in started.workers.values())]
        yield ["--engine", "dask", "--scheduler", started.scheduler_address], pids


def true_values(policy_directory: Path, seed: int) -> dict[str, float]:
    """Of the trained policy, greedy, on queries that no log has; of the best; of one arm."""
    policy, world = load_policy(read_artifact(policy_directory)), world_of(seed)
    queries = fresh_queries(world, _JUDGED, seed).astype(np.float32)
    truth = mean_utilities(world, queries)
    expected = policy.expected(queries)[:, [policy.arms.index(arm) for arm in ARMS]]
    taken = utilities(expected, policy.metrics, WEIGHTS).argmax(axis=1)
    return {
        "policy": float(truth[np.arange(len(truth)), taken].mean()),
        "best policy": float(truth.max(axis=1).mean()),
        "best fixed arm": float(truth.mean(axis=0).max()),
    }


def measure(
    rows: int, directory: Path, seed: int, options: list[str], processes: list[int]
) -> dict[str, float]:
    """One line of the table."""
    log, policy = directory / f"log-{rows}-{seed}", directory / f"policy-{rows}-{seed}"
    if not (log / "complete").exists():
        write_large_log(log, rows, seed)
        (log / "complete").touch()
    options = [*options, "--scratch", str(directory), "--seed", str(seed)]
    train = [*_COMMAND, "train", "--logs", str(log), "--to", str(policy), *options]
    evaluate = [*_COMMAND, "evaluate", "--logs", str(log), "--policy", str(policy), "--json"]
    trained, judged = measured(train, processes), measured([*evaluate, *options], processes)
    return {
        "rows": rows,
        "train s": trained.seconds,
        "train CPU s": trained.processor_seconds,
        "train MB": trained.megabytes,
        "evaluate s": judged.seconds,
        "evaluate CPU s": judged.processor_seconds,
        "evaluate MB": judged.megabytes,
        **true_values(policy, seed),
    }


def main() -> None:
    """Measure each size, smallest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--engine", choices=["local", "dask"], default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--keep", action="store_true", help="keep logs and policies")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="training-at-scale-"))
    directory.mkdir(parents=True, exist_ok=True)
    lines = []
    with contextlib.ExitStack() as stack:
        options, processes = [], list[int]()
        if arguments.engine == "dask":
            options, processes = stack.enter_context(cluster(arguments.workers))
        for rows in sorted(arguments.rows):
            line = measure(rows, directory, arguments.seed, options, processes)
            if not lines:
                print(" | ".join(line))
            print(
                " | ".join(
                    f"{value:,.4g}" if value < 100 else f"{value:,.0f}" for value in line.values()
                ),
                flush=True,
            )
            lines.append(line)
            if not arguments.keep:
                shutil.rmtree(directory / f"log-{rows}-{arguments.seed}")
    rows = [row for line in lines for row in rows_of(line, arguments.engine)]
    write_report(arguments.json, Report("training_at_scale", rows))


def rows_of(line: dict[str, float], engine: str) -> list[Row]:
    """A line of the table for a report; goals are set for a million rows on this machine."""
    rows = line["rows"]
    goals = {"train s": "<= 120", "train MB": "<= 4000", "evaluate s": "<= 10"}
    goals["evaluate MB"] = "<= 4000"
    return [
        Row(
            f"{command}, {rows:,} rows, {engine}: {what}",
            line[f"{command} {unit}"],
            unit.removeprefix("CPU "),
            goals.get(f"{command} {unit}") if rows == 1_000_000 and engine == "local" else None,
        )
        for command in ("train", "evaluate")
        for what, unit in (("by the clock", "s"), ("of CPU", "CPU s"), ("memory", "MB"))
    ]


if __name__ == "__main__":
    main()
