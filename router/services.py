"""What the endpoints work with, assembled once by `create_app`."""

import asyncio
from dataclasses import dataclass, field

from router.answers.answerer import Answerer
from router.deciding.decider import Decider
from router.draining import Draining
from router.drift_monitor import DriftMonitor
from router.encoding_pool import EncodingPool
from router.log.event_log import EventLog
from router.log.store_watch import StoreWatch
from router.metrics import Metrics
from router.policy_watcher import PolicyWatcher
from router.rollout.watch import RolloutWatch
from router.serving_policy import ActivePolicy
from router.settings import Settings


@dataclass
class Services:
    """One of each."""

    settings: Settings
    decider: Decider
    active: ActivePolicy
    log: EventLog
    watcher: PolicyWatcher
    metrics: Metrics
    answerer: Answerer
    drift: DriftMonitor
    encoding: EncodingPool
    store_watch: StoreWatch
    watch: RolloutWatch | None = None
    draining: Draining = field(default_factory=Draining)
    batch_turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def report_states(self) -> None:
        """Tell the metrics what the log, the breakers, drift and a rollout have come to."""
        self.metrics.observe_log(self.log.counters)
        self.metrics.observe_budgets(self.decider.budgets.states())
        self.metrics.observe_breakers(
            {breaker.name: breaker.state for breaker in self.answerer.backends.breakers}
        )
        self.metrics.observe_encoding(self.encoding.state())
        self.metrics.observe_drift(self.drift.states())
        report = self.watch.report if self.watch is not None else None
        self.metrics.rollout.observe(self.watcher.rollout, report)
        self._report_service()

    def _report_service(self) -> None:
        serving, about = self.active.current, self.metrics.service
        about.observe_policy(
            serving.policy.version,
            refused=self.watcher.refused is not None,
            candidate_refused=self.watcher.candidate_refused is not None,
            fallback=serving.fallback is not None,
        )
        about.observe_memory()
        about.observe_store(self.store_watch.state)
