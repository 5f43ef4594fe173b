"""Prometheus metrics of a rollout: the candidate, and what the watch says of it."""

import math

from prometheus_client import CollectorRegistry, Gauge

from policies.rollout import Rollout, WatchedMetric, WatchReport

_STAGES = {"shadow": 1, "canary": 2}
_VERDICTS = {"worse": -1, "watching": 0, "ready": 1}


class RolloutMetrics:
    """The stage, the share, the verdict, and the advantage by metric."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
        self._share = Gauge(
            "rag_router_rollout_share",
            "The candidate's share of the draws here; 0 in shadow and without a candidate.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._stage = Gauge(
            "rag_router_rollout_stage",
            "0 no candidate here, 1 shadow, 2 canary.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._verdict = Gauge(
            "rag_router_rollout_verdict",
            "What the watch says of the candidate: -1 worse, 0 watching, 1 ready for full.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._rounds = Gauge(
            "rag_router_rollout_rounds",
            "Reported rounds that the watch has judged the candidate by.",
            ["metric"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._advantage = Gauge(
            "rag_router_rollout_advantage",
            "The candidate's advantage over the incumbent, positive where it is better, and its "
            "anytime-valid one-sided bounds.",
            ["metric", "of"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._metrics: set[str] = set()

    def observe(self, rollout: Rollout | None, report: WatchReport | None) -> None:
        """Take over which candidate this process draws with, and what the watch says of it."""
        self._share.set(rollout.share if rollout is not None else 0.0)
        self._stage.set(0 if rollout is None else _STAGES[rollout.stage])
        if rollout is None or report is None or report.key != rollout.key:
            self._verdict.set(0)
            found_by: dict[str, WatchedMetric] = {}
        else:
            self._verdict.set(_VERDICTS[report.verdict])
            found_by = {found.metric: found for found in report.metrics}
        # What was told of a rollout that is over is taken back, not left to look like the next's.
        self._metrics |= found_by.keys()
        for metric in self._metrics:
            found = found_by.get(metric)
            self._rounds.labels(metric).set(found.rounds if found else 0)
            for of in ("advantage", "lower", "upper"):
                value = getattr(found, of) if found else math.nan
                self._advantage.labels(metric, of).set(value)
