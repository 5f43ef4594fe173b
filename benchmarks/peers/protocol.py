"""A peer's side of `side_by_side.py`: runs under the peer's own Python, needs nothing but it.

Every line is one JSON value. In comes first what to learn from, `{"arms": [..], "train": [{"query",
"quality": {arm: number}}, ..]}`; out goes what can be timed, `{"versions": {..}, "ways": [{"name",
"does", "batch"}, ..], "missing": {name: why}}`. Then each `{"way": index, "batch": bool,
"warm_up": [..], "queries": [..]}` is answered with `{"ns": [nanoseconds a query, ..], "cpu_ns": of
all of them together}`.
"""

import importlib.metadata
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

# A call finds cold caches after another process had the core, so others are made before, unless one
# takes so long that it hardly matters.
_WARM_UP_NS = 100_000_000


@dataclass(frozen=True)
class Way:
    """One way of deciding on a query.

    prepare: what is done outside the measured time; by default nothing.
    call: the decision, on what `prepare` gave.
    call_batch: several at a time, where the peer can.
    """

    name: str
    does: str
    call: Callable[[Any], object]
    prepare: Callable[[str], Any] = lambda query: query
    call_batch: Callable[[list[Any]], object] | None = None


@dataclass
class Peer:
    """What a peer offers: its ways, and those that this machine can't have, with the reason."""

    packages: Sequence[str]
    ways: list[Way] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def serve(build: Callable[[list[str], list[dict[str, Any]]], Peer]) -> None:
    """Build the peer from the first line, then time what each further line asks for."""
    # Libraries print; what they print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    task = json.loads(sys.stdin.readline())
    peer = build(task["arms"], task["train"])
    hello = {
        "versions": {name: importlib.metadata.version(name) for name in peer.packages},
        "ways": [
            {"name": way.name, "does": way.does, "batch": way.call_batch is not None}
            for way in peer.ways
        ],
        "missing": peer.missing,
    }
    print(json.dumps(hello), file=answers)
    for line in sys.stdin:
        asked = json.loads(line)
        way = peer.ways[asked["way"]]
        time_them = _time_batch if asked["batch"] else _time_each
        print(json.dumps(time_them(way, asked["warm_up"], asked["queries"])), file=answers)


def _time_each(way: Way, warm_up: list[str], queries: list[str]) -> dict[str, Any]:
    before = [way.prepare(query) for query in warm_up]
    prepared = [way.prepare(query) for query in queries]
    until = time.perf_counter_ns() + _WARM_UP_NS
    for query in itertools.cycle(before):
        way.call(query)
        if time.perf_counter_ns() > until:
            break
    taken = []
    cpu_began = time.process_time_ns()
    for query in prepared:
        began = time.perf_counter_ns()
        way.call(query)
        taken.append(time.perf_counter_ns() - began)
    return {"ns": taken, "cpu_ns": time.process_time_ns() - cpu_began}


def _time_batch(way: Way, warm_up: list[str], queries: list[str]) -> dict[str, Any]:
    """The whole list in one call; its time is shared evenly."""
    assert way.call_batch is not None
    before = [way.prepare(query) for query in warm_up]
    prepared = [way.prepare(query) for query in queries]
    way.call_batch(before)
    cpu_began, began = time.process_time_ns(), time.perf_counter_ns()
    way.call_batch(prepared)
    taken, cpu = time.perf_counter_ns() - began, time.process_time_ns() - cpu_began
    return {"ns": [taken / len(queries)] * len(queries), "cpu_ns": cpu}
