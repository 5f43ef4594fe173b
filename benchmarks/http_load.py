"""Decisions over HTTP: how many a second, how late, and what they cost a worker.

    python benchmarks/http_load.py [--service-python FILE] [--json FILE]

Starts `rag-router serve` (one worker pinned to the first core) with a real store that flushes every
write to the disk before it acknowledges it, and loads it with wrk from the second core, where the
store runs, too: 32, 128 and a single connection on /v1/route, and 8 connections on /v1/route/batch
with 64 queries each. 1,000 different queries of about 14 tokens take turns. It does so with the
built-in rules, and with a policy of the kind and size that training ships (out-of-distribution test
included); with two workers on both cores; and with uvloop in place of asyncio, where it is
installed. After each load it counts the store's stream and compares it with the decisions that the
service says it made: a run whose decisions aren't all in the log ends the benchmark.

Of two workers the load generator and the store share the two cores, and leave that much less to
them. So beside what was counted there is "a core of the workers": decisions for each second of CPU
that the workers themselves used. What two workers would make of two cores of their own is twice
that, and the ratio to one worker's is the scaling: it falls short of 2 by what a decision costs
more when two workers make them. The bare ratio of what was counted is printed with it.

Memory is the largest worker's resident set after each load, so that of a load stands for those
before it, too.

`--service-python` names the interpreter of an environment in which the service is installed as it
is for use. Beside development's packages it takes some 8 MB more: litestar imports pydantic where
it finds it.
"""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench_report import Report, Row, write_report
from decision_path import blend
from processes import cpu_seconds, resident_mb
from redis import Redis

from policies.artifact import Artifact
from policies.encoders import load_encoder
from policies.features import Featurizer
from policies.registries.redis_registry import RedisPolicyRegistry
from policies.store_keys import StoreKeys
from router.embedded_store import EmbeddedStore

WORKER_CORE, GENERATOR_CORE = 0, 1
BATCH = 64
SCRIPT = Path(__file__).with_suffix(".lua")
SERVE = (
    "import pathlib, sys;"
    "from router.serve import serve;"
    "from router.settings import read_settings;"
    "config, port, workers, data, loop = sys.argv[1:];"
    "serve(read_settings(pathlib.Path(config)), host='127.0.0.1', port=int(port),"
    " workers=int(workers), data=pathlib.Path(data), grace_s=7, loop=loop)"
)
KEYS = StoreKeys()


class Load(NamedTuple):
    """What is sent: to which path, over how many connections, queries in each request."""

    name: str
    path: str
    connections: int
    queries: int = 1


LOADS = (
    Load("32 connections", "/v1/route", 32),
    Load("128 connections", "/v1/route", 128),
    Load(f"batches of {BATCH}", "/v1/route/batch", 8, BATCH),
    Load("1 connection", "/v1/route", 1),
)


class Figures(NamedTuple):
    """What one load came to; CPU as microseconds of a core for each decision."""

    decisions_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    worker_us: float
    generator_us: float
    store_us: float
    busiest_share: float
    logged: int
    made: int
    megabytes: float

    @property
    def per_core(self) -> float:
        """Decisions for each second of the workers' CPU."""
        return 1e6 / self.worker_us


class Setting(NamedTuple):
    """How the service runs."""

    policy: str
    workers: int
    loop: str


class Service(NamedTuple):
    """The running service."""

    port: int
    workers: list[int]
    store: Redis
    store_pid: int


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=1, help="of everything; medians are shown")
    parser.add_argument("--quick", action="store_true", help="one worker on asyncio alone")
    parser.add_argument(
        "--service-python", default=sys.executable, metavar="FILE", help="runs the service"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    require_tools()
    os.sched_setaffinity(0, {GENERATOR_CORE})
    settings = settings_to_run(quick=arguments.quick)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as home:
        startup = measure_startup(Path(home), arguments.service_python)
        figures = measure_all(Path(home), settings, arguments)
    show(figures)
    rows = [*startup, *rows_of(figures)]
    for row in rows:
        print(f"{row.what:<66}{row.value:>10.2f} {row.unit:<12}{row.goal or ''}")
    write_report(arguments.json, Report("http_load", rows))


def require_tools() -> None:
    """End with a message where the load can't be made here."""
    missing = [tool for tool in ("wrk", "taskset") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} must be installed: apt-get install wrk util-linux")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the service, one for the load")


def settings_to_run(*, quick: bool) -> list[Setting]:
    """One worker with either policy; two; and another event loop."""
    settings = [Setting("rules", 1, "asyncio"), Setting("trained", 1, "asyncio")]
    if quick:
        return settings
    settings.append(Setting("trained", 2, "asyncio"))
    if importlib.util.find_spec("uvloop") is not None:
        settings.append(Setting("trained", 1, "uvloop"))
    else:
        print("uvloop isn't installed, so asyncio alone is measured")
    return settings


def measure_all(
    home: Path, settings: list[Setting], arguments: argparse.Namespace
) -> dict[tuple[Setting, Load], Figures]:
    """Medians over the rounds, in which the settings take turns."""
    policy = trained_policy()
    runs: dict[tuple[Setting, Load], list[Figures]] = {}
    for number in range(arguments.rounds):
        for setting in settings:
            own = home / f"{number}-{len(runs)}"
            with service(own, setting, policy, arguments.service_python) as running:
                press(running, LOADS[0], 2.0)  # warms up
                for load in LOADS:
                    figures = press(running, load, arguments.seconds)
                    runs.setdefault((setting, load), []).append(figures)
    return {key: medians(figures) for key, figures in runs.items()}


def medians(runs: list[Figures]) -> Figures:
    """Each figure's median."""
    return Figures(*(median(column) for column in zip(*runs, strict=True)))


@contextmanager
def service(
    home: Path, setting: Setting, policy: Artifact, python: str = sys.executable
) -> Iterator[Service]:
    """The service on a store of its own, which runs on the generator's core."""
    home.mkdir()
    with EmbeddedStore(home / "store") as store, Redis.from_url(store.url) as client:
        if setting.policy == "trained":
            registry = RedisPolicyRegistry(client)
            registry.publish(policy)
            registry.activate(policy.version)
        config = home / "router.toml"
        config.write_text(f'[redis]\nurl = "{store.url}"\n')
        cores = f"{WORKER_CORE},{GENERATOR_CORE}" if setting.workers > 1 else f"{WORKER_CORE}"
        port = free_port()
        options = [config, port, setting.workers, home / "data", setting.loop]
        command = ["taskset", "-c", cores, python, "-c", SERVE, *map(str, options)]
        with started(command, home / "log") as process:
            wait_for_answer(port, process, home / "log")
            workers = workers_of(process.pid, setting.workers, port)
            assert store.pid is not None
            yield Service(port, workers, client, store.pid)


@contextmanager
def started(command: list[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The process, ended as an orchestrator would."""
    # What this benchmark sets for itself is no setting of the service's.
    environ = {name: value for name, value in os.environ.items() if not name.endswith("_THREADS")}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environ)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def workers_of(pid: int, count: int, port: int) -> list[int]:
    """The processes that decide, once each of them reports to the registry."""
    if count == 1:
        return [pid]
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/v1/policies")
        replicas = json.load(connection.getresponse())["replicas"]
        connection.close()
        if len(replicas) == count:
            return [int(replica["replica"].rpartition("-")[2]) for replica in replicas]
        time.sleep(0.1)


def press(running: Service, load: Load, seconds: float) -> Figures:
    """One load, and what it cost; ends the benchmark where a decision isn't in the log."""
    made, logged = decisions_made(running.port), settled_entries(running)
    before = [cpu_seconds([pid]) for pid in running.workers]
    store_before = cpu_seconds([running.store_pid])
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as bodies:
        bodies.writelines(f"{line}\n" for line in request_bodies(load))
        bodies.flush()
        report, generator_s = wrk(running.port, load, seconds, Path(bodies.name))
    worker_s = [cpu_seconds([pid]) - b for pid, b in zip(running.workers, before, strict=True)]
    store_s = cpu_seconds([running.store_pid]) - store_before
    made = wait_until_all_are_made(running) - made
    logged = settled_entries(running) - logged
    answered = int(report["answered"]) * load.queries
    # wrk hangs up on what is under way when its time is over: made, logged, and not counted by it.
    if logged != made or not answered <= made <= answered + load.connections * load.queries:
        sys.exit(f"{answered} decisions were answered, {made} made, and {logged} are in the log")
    if report["failed"]:
        sys.exit(f"{report['failed']:.0f} requests failed")
    return Figures(
        answered / report["seconds"],
        report["p50_ms"],
        report["p99_ms"],
        report["max_ms"],
        1e6 * sum(worker_s) / made,
        1e6 * generator_s / made,
        1e6 * store_s / made,
        max(worker_s) / sum(worker_s),
        logged,
        made,
        max(resident_mb(pid) for pid in running.workers),
    )


def wrk(port: int, load: Load, seconds: float, bodies: Path) -> tuple[dict[str, float], float]:
    """Its report, and its CPU seconds."""
    process = subprocess.Popen(
        ["taskset", "-c", str(GENERATOR_CORE), "wrk", "-t1", f"-c{load.connections}",
         f"-d{seconds:g}s", "--timeout", "10s", "-s", SCRIPT, f"http://127.0.0.1:{port}", "--",
         load.path, bodies],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"wrk failed: {output.decode(errors='replace')}")
    return json.loads(output.splitlines()[-1]), usage.ru_utime + usage.ru_stime


def request_bodies(load: Load) -> list[str]:
    """1,000 requests for a decision, or 100 for a batch of them."""
    requests = [{"query": query} for query in queries(1000)]
    if load.queries == 1:
        return [json.dumps(request) for request in requests]
    batches = ([requests[(start + i) % 1000] for i in range(load.queries)] for start in range(100))
    return [json.dumps({"requests": batch}) for batch in batches]


def queries(count: int) -> list[str]:
    """So many different questions of about 14 tokens."""
    roles = ("director", "composer", "writer", "producer", "editor")
    films = ("Madame Lu", "The Old Harbour", "Seven Rivers", "Blue Dust", "Night Train")
    facts = ("born", "married", "buried", "educated", "honoured")
    return [
        f"When was the {roles[n % 5]} of the film {films[n // 5 % 5]} {n // 125} "
        f"{facts[n // 25 % 5]}, and where?"
        for n in range(count)
    ]


def decisions_made(port: int) -> int:
    """As the service's own metrics count them, over all workers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    lines = (line for line in text.splitlines() if line.startswith("rag_router_decisions_total{"))
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))


def wait_until_all_are_made(running: Service) -> int:
    """The count once it stands still: what wrk left under way is decided all the same."""
    return stands_still(lambda: decisions_made(running.port))


def settled_entries(running: Service) -> int:
    """The stream's length once nothing more arrives."""
    return stands_still(lambda: int(running.store.xlen(KEYS.decisions)))


def stands_still(count) -> int:  # type: ignore[no-untyped-def]
    """The count that hasn't changed for half a second."""
    last, since = count(), time.monotonic()
    while time.monotonic() - since < 0.5:
        time.sleep(0.1)
        now = count()
        if now != last:
            last, since = now, time.monotonic()
    return last


def measure_startup(home: Path, python: str) -> list[Row]:
    """Medians of five: importing the service, and from its start to its first answer."""
    code = (
        "import time; t = time.perf_counter(); import router.serve; print(time.perf_counter() - t)"
    )
    imports = [float(subprocess.check_output([python, "-c", code], text=True)) for _ in range(5)]
    starts = [first_answer_s(home / f"start-{number}", python) for number in range(5)]
    return [
        Row("import of router.serve", median(imports), "s", goal="<= 0.6"),
        Row(
            "start to first answer, one core",
            median(starts),
            "s",
            goal="<= 1.5",
            note="rag-router serve with its own store, on one core, to the first decision received",
        ),
    ]


def first_answer_s(home: Path, python: str) -> float:
    """Seconds from starting `rag-router serve` without a configuration to a decision received."""
    home.mkdir()
    port = free_port()
    command = ["taskset", "-c", str(WORKER_CORE), python, "-m", "router.cli", "serve"]
    command += ["--port", str(port), "--data", str(home / "data")]
    began = time.perf_counter()
    with started(command, home / "log") as process:
        wait_for_answer(port, process, home / "log")
        return time.perf_counter() - began


def wait_for_answer(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return once a decision comes back."""
    while True:
        if process.poll() is not None:
            sys.exit(f"the service didn't start:\n{log.read_text()}")
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("POST", "/v1/route", '{"query": "Who wrote Emma?"}')
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            time.sleep(0.005)
        finally:
            connection.close()


def trained_policy() -> Artifact:
    """Of the kind and size that training on outcomes ships; it knows what queries it was for."""
    return blend(Featurizer(load_encoder())).artifact()


def free_port() -> int:
    """A free port of the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def show(figures: dict[tuple[Setting, Load], Figures]) -> None:
    """One row a load."""
    print(
        f"{'policy':<9}{'workers':>7} {'loop':<9}{'load':<17}{'made/s':>9}{'p50 ms':>8}"
        f"{'p99 ms':>8}{'max ms':>8}{'worker µs':>11}{'wrk µs':>8}{'store µs':>9}{'/s a core':>10}"
        f"{'in log':>9}{'made':>9}{'MB':>6}"
    )
    for (setting, load), found in figures.items():
        print(
            f"{setting.policy:<9}{setting.workers:>7} {setting.loop:<9}{load.name:<17}"
            f"{found.decisions_per_s:>9,.0f}{found.p50_ms:>8.1f}{found.p99_ms:>8.1f}"
            f"{found.max_ms:>8.0f}{found.worker_us:>11.1f}{found.generator_us:>8.1f}"
            f"{found.store_us:>9.1f}{found.per_core:>10,.0f}{found.logged:>9,.0f}"
            f"{found.made:>9,.0f}{found.megabytes:>6.0f}"
        )


def rows_of(figures: dict[tuple[Setting, Load], Figures]) -> list[Row]:
    """The figures that goals are set for, and what they are compared with."""
    few, many, batch, lone = LOADS
    rows = []
    for setting in dict.fromkeys(setting for setting, _ in figures):
        who = f"{setting.policy}, {setting.workers} × {setting.loop}"
        alone = setting.workers == 1 and setting.loop == "asyncio"
        goals = ((few, 5000, 20), (many, None, 60), (batch, 25000, None), (lone, None, None))
        for load, least, latest in goals:
            found = figures[setting, load]
            goal = f">= {least}" if least and alone else None
            rows.append(Row(f"{who}, {load.name}", found.decisions_per_s, "decisions/s", goal))
            goal = f"<= {latest}" if latest and alone else None
            rows.append(Row(f"{who}, {load.name}, p50", found.p50_ms, "ms"))
            rows.append(Row(f"{who}, {load.name}, p99", found.p99_ms, "ms", goal))
            rows.append(Row(f"{who}, {load.name}, CPU of a worker", found.worker_us, "µs each"))
            rows.append(Row(f"{who}, {load.name}, memory", found.megabytes, "MB", "<= 150"))
    return [*rows, *scaling(figures)]


def scaling(figures: dict[tuple[Setting, Load], Figures]) -> list[Row]:
    """Two workers against one."""
    one, two = (Setting("trained", workers, "asyncio") for workers in (1, 2))
    load = LOADS[0]
    if (two, load) not in figures:
        return []
    bare = figures[two, load].decisions_per_s / figures[one, load].decisions_per_s
    own = 2 * figures[two, load].per_core / figures[one, load].per_core
    return [
        Row("2 workers / 1, cores of their own", own, "×", goal=">= 1.7",
            note="2 × decisions a second of the workers' CPU, against one worker's"),
        Row("2 workers / 1, load and store on the same cores", bare, "×"),
        Row("2 workers: the busier one's share of the work", figures[two, load].busiest_share, ""),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
