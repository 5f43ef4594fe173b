"""What one decision, answer and feedback cost the store and the disk, measured on a real Redis.

Used by `capacity_plan.py`. A Redis server and a replica of it are started on unix sockets and free
ports of this machine, with an append-only file that is flushed every second; events are those of
the default encoder, three arms and a policy of the size that training ships.
"""

import asyncio
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import redis
from decision_path import served

from policies.encoders import load_encoder
from policies.events import AnswerFinished, Evidence, FeedbackGiven, RetrievalEvidence, encode_event
from policies.features import Featurizer
from policies.store_keys import StoreKeys
from router.api.schemas import RouteRequest
from router.deciding.decider import Decider
from router.log.redis_reader import RedisEventReader
from router.log.redis_scripts import append_command
from router.log.redis_store import RedisEventStore
from router.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
_WORDS = """
who what when which where director film born river capital system gateway version error law changed
week invoice refund contract customer latest release policy country city author novel first second
between before after during highest largest founded company team player season
"""
_TTL_S = 7 * 86_400
_BUFFERS = ("mem_clients_normal", "mem_total_replication_buffers")
_CALL_SIZES = (1, 2, 5, 10, 25, 100, 500)


class EventCost(NamedTuple):
    """One kind of event: bytes of MessagePack, of Redis memory, and in the append-only file."""

    encoded: float
    memory: float
    aof: float


class Figures(msgspec.Struct, kw_only=True):
    """All that the plan is computed from; seconds are of one core.

    The memory of an event goes when its stream is trimmed, but for its index, which stays until it
    expires: `index_decision`, and `index_entry` for each answer and feedback. As long is kept what
    each `idempotency_key` of a call with feedback was used for. A call to the store
    costs its main thread `call_s`, and `event_s` for each event in it; the service `sent_call_s`.
    """

    decision: EventCost
    answer: EventCost
    feedback: EventCost
    index_decision: float
    index_entry: float
    idempotency_key: float
    call_s: float
    event_s: float
    sent_call_s: float
    network_bytes: float
    parquet_decision: float
    export_events_per_s: float
    watch_events_per_s: float


def measure(events: int) -> Figures:
    """Run everything; `events` decisions are stored."""
    decisions = list(_decisions(events))
    with _redis() as (client, socket_path):
        costs, network = _store_costs(client, decisions)
        parquet, export_rate = _export(socket_path, len(decisions))
        watch = _watch_rate(client)
        index_decision = _index_memory(client, [decisions])
        index_both = _index_memory(client, [decisions, [_feedback(one) for one in decisions]])
        idempotency_key = _key_memory(client, len(decisions))
        call_s, event_s = _main_thread(client, decisions)
        sent_call_s = asyncio.run(_client_side(socket_path, decisions))
    return Figures(
        decision=costs[0],
        answer=costs[1],
        feedback=costs[2],
        index_decision=index_decision,
        index_entry=index_both - index_decision,
        idempotency_key=idempotency_key,
        call_s=call_s,
        event_s=event_s,
        sent_call_s=sent_call_s,
        network_bytes=network,
        parquet_decision=parquet,
        export_events_per_s=export_rate,
        watch_events_per_s=watch,
    )


def _decisions(count: int) -> Iterator[Any]:
    decider = Decider(Settings(), Featurizer(load_encoder()))
    serving = served(decider, "squarecb")
    rng, words = random.Random(0), _WORDS.split()
    for _ in range(0, count, 64):
        requests = [RouteRequest(query=" ".join(rng.choices(words, k=12)) + "?") for _ in range(64)]
        yield from (made.event for made in decider.decide(requests, serving))


def _answer(decision: Any) -> AnswerFinished:
    return AnswerFinished(
        decision_id=decision.decision_id,
        at=decision.at,
        executed_arm=decision.arm,
        metrics={"cost_usd": 0.0004, "latency_s": 1.21},
        input_tokens=900,
        output_tokens=180,
        evidence=[Evidence(f"handbook/page-{n}#2", 0.5 + 0.05 * n) for n in range(5)],
        retrieval=RetrievalEvidence(count=5, top_score=0.7, margin=0.05, cited=2),
    )


def _feedback(decision: Any) -> FeedbackGiven:
    return FeedbackGiven(
        feedback_id=decision.decision_id[::-1],
        decision_id=decision.decision_id,
        metric="quality",
        value=1.0,
        at=decision.at,
        source="user",
    )


def _store_costs(client: redis.Redis, decisions: Sequence[Any]) -> tuple[list[EventCost], float]:
    """Per kind of event; bytes received per decision."""
    costs, network = [], []
    for kind in (lambda decision: decision, _answer, _feedback):
        events = [kind(decision) for decision in decisions]
        before = _state(client)
        _append(client, events, 100)
        after = _state(client)
        each = {name: (after[name] - before[name]) / len(events) for name in before}
        encoded = sum(len(encode_event(event)) for event in events) / len(events)
        costs.append(EventCost(encoded, each["memory"], each["aof"]))
        network.append(each["received"])
    return costs, network[0]


def _index_memory(client: redis.Redis, kinds: Sequence[Sequence[Any]]) -> float:
    """What is left per decision of these events once the streams are trimmed."""
    client.flushall()
    before = _state(client)["memory"]
    for events in kinds:
        _append(client, events, 100)
    for stream in (StoreKeys().decisions, StoreKeys().feedback):
        client.xtrim(stream, maxlen=0, approximate=False)
    return (_state(client)["memory"] - before) / len(kinds[0])


def _key_memory(client: redis.Redis, count: int) -> float:
    """Of a UUID that one caller sent as its Idempotency-Key, with the hash of what it was for."""
    client.flushall()
    before = _state(client)["memory"]
    with client.pipeline(transaction=False) as pipeline:
        for _ in range(count):
            scope = f"feedback:{'0' * 64}:{uuid.uuid4()}"
            pipeline.set(StoreKeys().remembered(scope), "0" * 64, px=_TTL_S * 1000, nx=True)
        pipeline.execute()
    return (_state(client)["memory"] - before) / count


def _state(client: redis.Redis) -> dict[str, float]:
    info: Any = client.info()
    while info["mem_aof_buffer"] > 10_000:  # it would count as the events' memory
        time.sleep(0.05)
        info = client.info()
    buffers = sum(info[name] for name in _BUFFERS)
    return {
        "memory": float(info["used_memory"] - buffers),
        "aof": float(info["aof_current_size"]),
        "received": float(info["total_net_input_bytes"]),
    }


def _append(client: redis.Redis, events: Sequence[Any], size: int) -> None:
    keys = StoreKeys()
    for start in range(0, len(events), size):
        client.execute_command(*append_command(keys, events[start : start + size], _TTL_S))


def _main_thread(client: redis.Redis, decisions: Sequence[Any]) -> tuple[float, float]:
    """Seconds of the store's main thread: for a call, and for each event in it (least squares)."""
    rows = []
    for size in _CALL_SIZES:
        part = decisions[: max(2_000, 20 * size)]
        part = part[: len(part) // size * size]
        client.flushall()
        before = _cpu(client)
        _append(client, part, size)
        rows.append((1.0 / size, (_cpu(client) - before) / len(part)))
    mean_x = sum(x for x, _ in rows) / len(rows)
    mean_y = sum(y for _, y in rows) / len(rows)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in rows) / sum(
        (x - mean_x) ** 2 for x, _ in rows
    )
    return slope, mean_y - slope * mean_x


async def _client_side(path: Path, decisions: Sequence[Any]) -> float:
    """Processor seconds that a call with one event takes the service, more events aside."""
    store = RedisEventStore.from_url(f"unix://{path}")
    rates = []
    for size in (1, 10):
        began = time.process_time()
        for start in range(0, 2_000, size):
            await store.append(decisions[start : start + size])
        rates.append((time.process_time() - began) / (2_000 / size))
    await store.close()
    # Two equations: a call and one event, a call and ten.
    return rates[0] - (rates[1] - rates[0]) / 9


def _cpu(client: redis.Redis) -> float:
    info: Any = client.info("cpu")
    return float(info["used_cpu_user_main_thread"] + info["used_cpu_sys_main_thread"])


def _export(path: Path, decisions: int) -> tuple[float, float]:
    """Parquet bytes a decision, and events a second of processor time, start-up included."""
    with tempfile.TemporaryDirectory() as directory:
        began = os.times()
        command = [sys.executable, "-m", "training.cli", "export"]
        subprocess.run(
            [*command, "--from", f"unix://{path}", "--to", directory],
            check=True,
            capture_output=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        ended = os.times()
        files = (Path(directory) / "decisions").glob("**/*.parquet")
        size = sum(file.stat().st_size for file in files)
    seconds = ended.children_user + ended.children_system
    seconds -= began.children_user + began.children_system
    return size / decisions, 3 * decisions / seconds


def _watch_rate(client: redis.Redis) -> float:
    """Entries a second that one reader takes in, in the watch's chunks."""
    reader = RedisEventReader(client)
    position, count, began = reader.start(0.0), 0, time.perf_counter()
    while entries := reader.read("decisions", position, 64):
        position, count = entries[-1].position, count + len(entries)
    return count / (time.perf_counter() - began)


@contextmanager
def _redis() -> Iterator[tuple[redis.Redis, Path]]:
    """A server with a replica; both end with the context."""
    with tempfile.TemporaryDirectory(prefix="capacity-") as directory:
        port, processes = _free_port(), []
        try:
            for name, extra in (
                ("primary", ["--port", str(port)]),
                ("replica", ["--port", "0", "--replicaof", "127.0.0.1", str(port)]),
            ):
                processes.append(_start(Path(directory) / name, extra))
            path = Path(directory) / "primary" / "s"
            with redis.Redis(unix_socket_path=str(path)) as client:
                while not _has_replica(client):
                    time.sleep(0.05)
                yield client, path
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _start(directory: Path, extra: list[str]) -> "subprocess.Popen[bytes]":
    binary = shutil.which("redis-server")
    if binary is None:
        raise SystemExit("redis-server isn't installed")
    directory.mkdir()
    options = ["--unixsocket", str(directory / "s"), "--dir", str(directory)]
    options += ["--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"]
    options += ["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"]
    with (directory / "log").open("wb") as log:
        return subprocess.Popen([binary, *options, *extra], stdout=log, stderr=log)


def _has_replica(client: redis.Redis) -> bool:
    try:
        info: Any = client.info("replication")
    except redis.RedisError:
        return False
    return bool(info["connected_slaves"] == 1 and info["slave0"]["state"] == "online")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
