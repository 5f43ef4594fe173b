"""Prometheus metrics of the service."""

import os
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from policies.events import AnswerFinished, DecisionMade, FeedbackGiven
from router.deciding.budget_tracker import BudgetState
from router.drift_monitor import DriftState
from router.encoding_pool import EncodingState
from router.log.counters import LogCounters
from router.rollout.rollout_metrics import RolloutMetrics
from router.service_metrics import ServiceMetrics

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
# Seconds of answers: models take from a tenth of a second to a minute.
_ANSWER_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BREAKER_STATES = {"closed": 0, "half-open": 1, "open": 2}


class Metrics:
    """Counts and times; never a query's text, nor a label that a caller could make up."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.service = ServiceMetrics(registry)
        """What this replica is and serves, and its store."""
        self.rollout = RolloutMetrics(registry)
        """The candidate, and what the watch says of it."""
        self._decisions = Counter(
            "rag_router_decisions", "Decisions made.", ["arm", "explored"], registry=registry
        )
        self._out_of_distribution = Counter(
            "rag_router_out_of_distribution",
            "Decisions on queries unlike those the policy was trained on.",
            registry=registry,
        )
        self._encoding_depth = Gauge(
            "rag_router_encoding_depth",
            "Decisions that wait for a slow encoder, or are being made off the event loop.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._encoding_refused = Counter(
            "rag_router_encoding_refused",
            "Decisions refused because too many waited for the encoder.",
            registry=registry,
        )
        self._told_refused = 0
        self._drift = {
            name: Gauge(
                f"rag_router_drift_{name}",
                text,
                ["test"],
                registry=registry,
                multiprocess_mode=mode,
            )
            for name, (text, mode) in _DRIFT.items()
        }
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
        self._rollbacks = Counter(
            "rag_router_rollbacks",
            "Rollouts and activations taken back through this process: by request, or by the watch "
            "because the candidate was shown to be worse.",
            ["by"],
            registry=registry,
        )
        for by in ("request", "watch"):
            self._rollbacks.labels(by)  # from 0 on: Prometheus sees no increase in a first 1
        self._answers = Counter(
            "rag_router_answers",
            "Answers, by the arm that was taken in the end and how it went.",
            ["arm", "outcome"],
            registry=registry,
        )
        self._answer_seconds = Histogram(
            "rag_router_answer_seconds",
            "Seconds from a request to the end of its answer.",
            ["arm"],
            buckets=_ANSWER_BUCKETS,
            registry=registry,
        )
        self._first_token_seconds = Histogram(
            "rag_router_first_token_seconds",
            "Seconds from a request to the first token of its answer.",
            ["arm"],
            buckets=_ANSWER_BUCKETS,
            registry=registry,
        )
        self._answer_counts = {
            name: Counter(f"rag_router_{name}", text, registry=registry)
            for name, text in _ANSWER_COUNTS.items()
        }
        self._breakers = Gauge(
            "rag_router_breaker_state",
            "0 closed, 1 half-open, 2 open: the worst of all workers.",
            ["backend"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._budgets = {
            name: Gauge(
                f"rag_router_budget_{name}",
                text,
                ["budget"],
                registry=registry,
                multiprocess_mode="livemostrecent" if name != "unheld" else "livemax",
            )
            for name, text in _BUDGET_STATES.items()
        }
        self._log_counts = {
            name: Counter(f"rag_router_log_{name}", text, registry=registry)
            for name, text in _LOG_COUNTS.items()
        }
        self._log_states = {
            name: Gauge(f"rag_router_log_{name}", text, registry=registry, multiprocess_mode=mode)
            for name, (text, mode) in _LOG_STATES.items()
        }
        self._told = LogCounters()
        # Looking a label up takes longer than counting: each is looked up once.
        self._decided: dict[tuple[str, bool], Counter] = {}

    def observe_decisions(self, events: Sequence[DecisionMade], seconds: float) -> None:
        """Count decisions by arm, and the time they took together."""
        for key, count in Tally((event.arm, event.explored) for event in events).items():
            if key not in self._decided:
                self._decided[key] = self._decisions.labels(key[0], str(key[1]).lower())
            self._decided[key].inc(count)
        if unknown := sum(event.out_of_distribution for event in events):
            self._out_of_distribution.inc(unknown)
        self._seconds.observe(seconds)

    def observe_answer(self, event: AnswerFinished) -> None:
        """Count an answer, its times, tokens and money, and what its citations came to."""
        outcome = "failed" if event.error else "degraded" if event.failures else "ok"
        self._answers.labels(event.executed_arm, outcome).inc()
        if event.error is None:
            self._answer_seconds.labels(event.executed_arm).observe(event.metrics["latency_s"])
        if "first_token_s" in event.metrics:
            first_token = self._first_token_seconds.labels(event.executed_arm)
            first_token.observe(event.metrics["first_token_s"])
        counts = self._answer_counts
        counts["input_tokens"].inc(event.input_tokens)
        counts["output_tokens"].inc(event.output_tokens)
        counts["cost_usd"].inc(event.metrics.get("cost_usd", 0.0))
        if event.retrieval is not None:
            counts["dropped_citations"].inc(event.retrieval.dropped_citations)
            if event.error is None and not event.retrieval.cited:
                counts["answers_without_citation"].inc()

    def observe_breakers(self, states: Mapping[str, str]) -> None:
        """Take over the states of the circuit breakers, by backend."""
        for backend, state in states.items():
            self._breakers.labels(backend).set(_BREAKER_STATES[state])

    def observe_drift(self, states: Sequence[DriftState]) -> None:
        """Take over where the drift tests stand."""
        for state in states:
            self._drift["log_e_value"].labels(state.test).set(state.log_e_value)
            self._drift["alarm"].labels(state.test).set(state.alarm)
            self._drift["observed"].labels(state.test).set(state.observed)

    def observe_budgets(self, states: Mapping[str, BudgetState]) -> None:
        """Take over where the configured budgets stand, by name."""
        for budget, state in states.items():
            self._budgets["weight"].labels(budget).set(state.weight)
            self._budgets["spend"].labels(budget).set(state.spend)
            self._budgets["limit"].labels(budget).set(state.limit)
            unheld = state.status in ("out of reach", "unknown metric")
            self._budgets["unheld"].labels(budget).set(float(unheld))

    def observe_encoding(self, state: EncodingState) -> None:
        """Take over where the queue before a slow encoder stands."""
        self._encoding_depth.set(state.depth)
        self._encoding_refused.inc(state.refused - self._told_refused)
        self._told_refused = state.refused

    def observe_feedback(self, events: Sequence[FeedbackGiven]) -> None:
        """Count feedback."""
        self._feedback.inc(len(events))

    def observe_swap(self) -> None:
        """Count a policy swapped in."""
        self._swaps.inc()

    def observe_refusal(self) -> None:
        """Count a policy refused."""
        self._refusals.inc()

    def observe_rollback(self, by: Literal["request", "watch"]) -> None:
        """Count a rollout or activation taken back."""
        self._rollbacks.labels(by).inc()

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


_ANSWER_COUNTS = {
    "input_tokens": "Tokens that models read.",
    "output_tokens": "Tokens that models wrote.",
    "cost_usd": "US dollars for answers, as far as prices and token counts are known.",
    "dropped_citations": "Citations of passages that weren't given, taken out of answers.",
    "answers_without_citation": "Answers that cite none of the passages they were given.",
}
# Text, and how several workers' states become one.
_DRIFT: dict[str, tuple[str, Literal["livemax", "livesum"]]] = {
    "log_e_value": ("Log evidence of drift: the most of any worker.", "livemax"),
    "alarm": ("1 once a worker's test has raised its alarm; a new policy resets it.", "livemax"),
    "observed": ("Decisions tested.", "livesum"),
}
_BUDGET_STATES = {
    "weight": "The present cost weight of a budget: of one worker, where there are several.",
    "spend": "The budget's metric, mean over its window: of one worker, where there are several.",
    "limit": "What that mean may be: `at_most`.",
    "unheld": "1 where a budget can't be held: every arm costs more, or its metric isn't "
    "expected by the policy.",
}
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
