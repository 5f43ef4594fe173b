"""What it takes to decide 100, 10,000 and 1,000,000 queries a second, and what breaks first.

    python benchmarks/capacity_plan.py --decisions-per-core 5000 --worker-mb 120

measures what an event costs the store, the disk and the exporter (on a real Redis with a replica,
see `capacity_figures.py`), takes the service's own speed and memory as given (`http_load.py`
measures them), and prints the figures, the plan computed from them, and at which rate each part
that there is one of is full. Everything above what this machine can do is arithmetic: it assumes
that costs stay as they are for one process, and that load is spread evenly.
"""

import argparse
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench_report import Report, Row, write_report
from capacity_figures import Figures, measure

RATES = (100, 10_000, 1_000_000)
_GB, _MB, _DAY_S = 1e9, 1e6, 86_400
# What a worker holds open to each primary: the log's writer, sixteen waited-for appends, a look.
_CONNECTIONS = 18
_MAX_CLIENTS = 10_000  # Redis's own default
_KEY_LIFE_S = 7 * _DAY_S  # an Idempotency-Key's, at most


class Plan(NamedTuple):
    """What one rate takes, all cells together; memory and storage in GB, without replicas.

    A cell is a store with its own prefix, log and exporter, which the callers of one tenant or
    region share. `sending` and `watched` are shares of one core, `spool` is a worker's.
    """

    rate: int
    cells: int
    workers: int
    router_memory: float
    primaries: int
    why: str
    events_per_call: float
    sending: float
    buffered_min: float
    stream_memory: float
    trace_hours: float
    index_memory: float
    key_memory: float
    written: float
    exporters: int
    parquet_day: float
    spool: float
    watched: float


def main() -> None:
    """Measure, compute, print."""
    arguments = _arguments()
    figures = measure(arguments.events)
    plans = [plan(figures, arguments, rate, number) for number, rate in enumerate(RATES)]
    limits = _limits(figures, arguments)
    _print_figures(figures, arguments)
    _print_plans(plans)
    _print_limits(limits)
    write_report(arguments.json, Report("capacity_plan", list(_rows(figures, limits))))


def plan(figures: Figures, given: argparse.Namespace, rate: int, number: int) -> Plan:
    """Size every part for a rate of queries a second, the plan of that number."""
    trace_hours, buffered = given.trace_hours[number], given.buffered_min[number]
    cells = math.ceil(rate / given.cell)
    each = rate / cells
    workers = max(2, math.ceil(each / (given.decisions_per_core * given.use)))
    streams = each * _stream_bytes(figures, given) * 60 * buffered
    index = each * _index_bytes(figures, given) * 3600 * trace_hours
    keys = each * _key_bytes(figures, given) * min(_KEY_LIFE_S, 3600 * trace_hours)
    for_memory = math.ceil((streams + index + keys) / (given.primary_gb * _GB))
    primaries, per_call = _for_calls(figures, given, each, workers, for_memory)
    encoded = _weighted(given, lambda name: getattr(figures, name).encoded)
    written = _weighted(given, lambda name: getattr(figures, name).aof)
    return Plan(
        rate=rate,
        cells=cells,
        workers=cells * workers,
        router_memory=cells * workers * given.worker_mb * _MB / _GB,
        primaries=cells * primaries,
        why="" if primaries == 1 else ", for memory" if primaries == for_memory else ", for calls",
        events_per_call=per_call,
        sending=_calls(given, each / workers, per_call) * figures.sent_call_s,
        buffered_min=buffered,
        stream_memory=cells * streams / _GB,
        trace_hours=trace_hours,
        index_memory=cells * index / _GB,
        key_memory=cells * keys / _GB,
        written=rate * written / _MB,
        exporters=cells * math.ceil(each / _export_limit(figures, given)),
        parquet_day=rate
        * figures.parquet_decision
        * encoded
        / figures.decision.encoded
        * _DAY_S
        / _GB,
        spool=each / workers * encoded * 3600 / _GB,
        watched=each * (1 + given.answers) / figures.watch_events_per_s,
    )


def _for_calls(
    figures: Figures, given: argparse.Namespace, rate: float, workers: int, at_least: int
) -> tuple[int, float]:
    """Primaries that the calls keep busy to the share in use, and a decision batch's events a call.

    Each worker sends a batch every few milliseconds, split over the shards, of which there is one a
    primary; feedback comes in calls of its own, since it is waited for.
    """
    batch = max(1.0, rate * (1 + given.answers) / workers * given.batch_ms / 1000)
    primaries = at_least
    while True:
        per_call = batch / (primaries * (1 - (1 - 1 / primaries) ** batch))
        seconds = _calls(given, rate, per_call) * figures.call_s
        seconds += rate * _events(given) * figures.event_s
        if seconds / primaries <= given.use:
            return primaries, per_call
        primaries += 1


def _calls(given: argparse.Namespace, rate: float, per_call: float) -> float:
    return float(rate * ((1 + given.answers) / per_call + given.feedback))


def _export_limit(figures: Figures, given: argparse.Namespace) -> float:
    """Queries a second that one exporter keeps up with, with a fifth of its time to spare."""
    return float((given.export_per_core or figures.export_events_per_s) * 0.8 / _events(given))


def _events(given: argparse.Namespace) -> float:
    return 1.0 + float(given.answers) + float(given.feedback)


def _weighted(given: argparse.Namespace, cost: Callable[[str], float]) -> float:
    """Per query: a decision, and so many answers and feedbacks."""
    return float(
        cost("decision") + given.answers * cost("answer") + given.feedback * cost("feedback")
    )


def _stream_bytes(figures: Figures, given: argparse.Namespace) -> float:
    all_of_it = _weighted(given, lambda name: getattr(figures, name).memory)
    return all_of_it - _index_bytes(figures, given)


def _index_bytes(figures: Figures, given: argparse.Namespace) -> float:
    return figures.index_decision + float(given.answers + given.feedback) * figures.index_entry


def _key_bytes(figures: Figures, given: argparse.Namespace) -> float:
    """Of a query's idempotency keys: clients are assumed to send one with each feedback."""
    return float(given.feedback) * figures.idempotency_key


def _print_figures(figures: Figures, given: argparse.Namespace) -> None:
    print(f"{platform.machine()}, Python {platform.python_version()}; measured just now:")
    for name in ("decision", "answer", "feedback"):
        cost = getattr(figures, name)
        print(
            f"  {name:<9} {cost.encoded:6.0f} B encoded, {cost.memory:6.0f} B of Redis memory, "
            f"{cost.aof:6.0f} B in its append-only file"
        )
    print(
        f"  until it expires: {figures.index_decision:.0f} B of index a decision, "
        f"{figures.index_entry:.0f} B more an answer or feedback, {figures.idempotency_key:.0f} B "
        "an idempotency key"
    )
    print(
        f"  Redis's main thread: {figures.call_s * 1e6:.1f} µs a call and "
        f"{figures.event_s * 1e6:.1f} µs an event, one replica attached; the service: "
        f"{figures.sent_call_s * 1e6:.0f} µs a call"
    )
    print(
        f"  export: {figures.export_events_per_s:,.0f} events/s of one core, start-up included; "
        f"{figures.parquet_decision:.0f} B of Parquet a decision; the watch reads "
        f"{figures.watch_events_per_s:,.0f} entries/s"
    )
    print(
        f"given: {given.decisions_per_core:,.0f} decisions/s a core, {given.worker_mb:.0f} MB a "
        f"worker, {given.feedback:g} feedback and {given.answers:g} answers a query; cores are "
        f"used to {given.use:.0%}, primaries have {given.primary_gb:g} GB for data"
    )


_LINES: tuple[tuple[str, Callable[[Plan], str]], ...] = (
    ("cells: a store, a log, an exporter each", lambda p: f"{p.cells:,}"),
    ("router workers, a core each", lambda p: f"{p.workers:,}"),
    ("router memory, GB", lambda p: f"{p.router_memory:,.1f}"),
    ("Redis primaries = shards", lambda p: f"{p.primaries:,}{p.why}"),
    ("the same, with a replica each", lambda p: f"{2 * p.primaries:,}"),
    ("events a call to Redis", lambda p: f"{p.events_per_call:.1f}"),
    ("of a worker's core, to send those", lambda p: f"{p.sending:.0%}"),
    ("events held for an export, min", lambda p: f"{p.buffered_min:g}"),
    ("streams in Redis, GB", lambda p: f"{p.stream_memory:,.1f}"),
    ("index kept for, hours", lambda p: f"{p.trace_hours:g}"),
    ("index in Redis, GB", lambda p: f"{p.index_memory:,.1f}"),
    ("idempotency keys in Redis, GB", lambda p: f"{p.key_memory:,.1f}"),
    ("to Redis, to replicas, to append-only files, each MB/s", lambda p: f"{p.written:,.1f}"),
    ("exporting cores", lambda p: f"{p.exporters:,}"),
    ("Parquet, GB a day", lambda p: f"{p.parquet_day:,.1f}"),
    ("a worker's spool, GB an hour away", lambda p: f"{p.spool:,.1f}"),
    ("of a cell's rollout watch", lambda p: f"{p.watched:.1%}"),
)


def _print_plans(plans: list[Plan]) -> None:
    print(f"\n| queries a second | {' | '.join(f'{one.rate:,}' for one in plans)} |")
    print(f"|---|{'---|' * len(plans)}")
    for name, value in _LINES:
        print(f"| {name} | {' | '.join(value(one) for one in plans)} |")


def _rows(figures: Figures, limits: dict[str, float]) -> Iterator[Row]:
    for name in ("decision", "answer", "feedback"):
        yield Row(f"Redis memory, {name}", getattr(figures, name).memory, "B")
    yield Row("index of a decision in Redis", figures.index_decision, "B")
    yield Row("Parquet, decision", figures.parquet_decision, "B")
    yield Row("Redis main thread, a call", figures.call_s * 1e6, "µs")
    yield Row("Redis main thread, an event in it", figures.event_s * 1e6, "µs")
    for name, rate in limits.items():
        yield Row(f"full: {name}", rate, "queries/s")


def _limits(figures: Figures, given: argparse.Namespace) -> dict[str, float]:
    """At which rate each part that there is one of is full, the first to break first."""
    batched = _weighted(given, lambda _: figures.event_s) + figures.call_s * (
        given.feedback + (1 + given.answers) / 10
    )
    hours, buffered = given.trace_hours[0], given.buffered_min[0]
    limits = {
        f"{hours:g} h of index and keys in one primary": given.primary_gb
        * _GB
        / (
            _index_bytes(figures, given) * 3600 * hours
            + _key_bytes(figures, given) * min(_KEY_LIFE_S, 3600 * hours)
        ),
        f"{buffered:g} min of events in one primary": given.primary_gb
        * _GB
        / (_stream_bytes(figures, given) * 60 * buffered),
        "one Redis main thread": given.use / batched,
        "a log's one exporter": _export_limit(figures, given),
        "the rollout watch's one reader": figures.watch_events_per_s / (1 + given.answers),
        f"{_MAX_CLIENTS:,} connections to one primary": _MAX_CLIENTS
        / _CONNECTIONS
        * given.decisions_per_core
        * given.use,
        "one router worker": given.decisions_per_core * given.use,
    }
    return dict(sorted(limits.items(), key=lambda limit: limit[1]))


def _print_limits(limits: dict[str, float]) -> None:
    print("\n| full first | queries a second |\n|---|---|")
    for name, rate in limits.items():
        print(f"| {name} | {rate:,.0f} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    number = {"type": float}
    parser.add_argument("--decisions-per-core", **number, required=True, help="over HTTP")
    parser.add_argument("--worker-mb", **number, required=True, help="resident memory")
    parser.add_argument("--export-per-core", **number, help="events/s, instead of measuring")
    parser.add_argument("--feedback", **number, default=0.1, help="feedbacks a query")
    parser.add_argument("--answers", **number, default=0.0, help="answers a query")
    parser.add_argument("--use", **number, default=0.6, help="share of a core in use")
    parser.add_argument("--primary-gb", **number, default=32.0, help="data in one primary")
    three = {"nargs": 3, "metavar": tuple(f"{rate:,}" for rate in RATES), **number}
    parser.add_argument(
        "--buffered-min",
        **three,
        default=[70.0, 70.0, 11.0],
        help="minutes between two trimming exports, and of an outage to be ridden out",
    )
    parser.add_argument("--cell", **number, default=25_000.0, help="queries/s in one cell, at most")
    parser.add_argument("--batch-ms", **number, default=5.0, help="as log.batch_delay_ms")
    parser.add_argument(
        "--trace-hours", **three, default=[168.0, 2.0, 1.0], help="as redis.trace_hours"
    )
    parser.add_argument("--events", type=int, default=30_000, help="decisions to measure with")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
