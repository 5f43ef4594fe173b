"""Prometheus metrics of the service."""

import os
from collections import Counter as Tally
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from policies.events import DecisionMade, FeedbackGiven
from router.log.event_log import LogCounters

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Set by `rag-router serve --workers N` for its workers, whose numbers must be added up.
MULTIPROCESS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

_LATENCY_BUCKETS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    1.0,
)


class Metrics:
    """Counts and times; never a query's text, nor a label that a caller could make up."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._decisions = Counter(
            "rag_router_decisions", "Decisions made.", ["arm", "explored"], registry=registry
        )
        self._seconds = Histogram(
            "rag_router_decide_seconds",
            "Seconds to decide one request or batch, from decoded to logged.",
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        self._feedback = Counter("rag_router_feedback", "Feedback accepted.", registry=registry)
        self._swaps = Counter("rag_router_policy_swaps", "Policies swapped in.", registry=registry)
        self._refusals = Counter(
            "rag_router_policy_refusals",
            "Active policies refused because they don't fit or are damaged.",
            registry=registry,
        )
        self._log_counts = {
            name: Counter(f"rag_router_log_{name}", text, registry=registry)
            for name, text in _LOG_COUNTS.items()
        }
        self._log_states = {
            name: Gauge(f"rag_router_log_{name}", text, registry=registry, multiprocess_mode=mode)
            for name, (text, mode) in _LOG_STATES.items()
        }
        self._told = LogCounters()

    def observe_decisions(self, events: Sequence[DecisionMade], seconds: float) -> None:
        """Count decisions by arm, and the time they took together."""
        for (arm, explored), count in Tally(
            (e.arm, str(e.explored).lower()) for e in events
        ).items():
            self._decisions.labels(arm, explored).inc(count)
        self._seconds.observe(seconds)

    def observe_feedback(self, events: Sequence[FeedbackGiven]) -> None:
        """Count feedback."""
        self._feedback.inc(len(events))

    def observe_swap(self) -> None:
        """Count a policy swapped in."""
        self._swaps.inc()

    def observe_refusal(self) -> None:
        """Count a policy refused."""
        self._refusals.inc()

    def observe_log(self, counters: LogCounters) -> None:
        """Take over the event log's own counts; called often, so that no scrape misses a worker."""
        for name, counter in self._log_counts.items():
            counter.inc(getattr(counters, name) - getattr(self._told, name))
        for name, gauge in self._log_states.items():
            gauge.set(getattr(counters, name))
        self._told = counters

    def render(self) -> bytes:
        """All metrics in Prometheus' text format; those of all workers where there are several."""
        directory = os.environ.get(MULTIPROCESS_DIRECTORY)
        if directory is None:
            return generate_latest(self.registry)
        _forget_dead_workers(Path(directory))
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def _forget_dead_workers(directory: Path) -> None:
    """Drop the states (not the counts) of workers that have ended."""
    for path in directory.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]
        except PermissionError:
            pass  # alive, and somebody else's


_LOG_COUNTS = {
    "recorded": "Events given to the log.",
    "stored": "Events that reached the store.",
    "duplicates": "Events the store already had (retries).",
    "spooled": "Events written to the disk spool because the store was away or too slow.",
    "replayed": "Spooled events that reached the store later.",
    "overflowed": "Events that found the queue full and went to the spool.",
    "lost": "Events that neither store nor disk took: must stay 0.",
    "store_failures": "Calls to the store that failed.",
    "spool_failures": "Writes to the spool that failed.",
    "damaged": "Spool records, or tails of spool files, that couldn't be read.",
}
# Text, and how several workers' states become one.
_LOG_STATES: dict[str, tuple[str, Literal["livesum", "livemin"]]] = {
    "queue_depth": ("Events waiting in memory.", "livesum"),
    "spool_bytes": ("Bytes waiting in the disk spool.", "livesum"),
    "store_up": ("1 while the store answers every worker.", "livemin"),
}
