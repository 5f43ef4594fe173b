"""Prometheus metrics of what a replica is and serves, and of the store as it sees it."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

from policies.arms import Arm
from policies.store_keys import RUNS
from policies.version import VERSION
from router.log.store_state import StoreState

Mode = Literal["livesum", "livemax", "livemostrecent"]

_STATM = Path("/proc/self/statm")
# Counted from the start: where a counter begins at 1, Prometheus sees no increase.
_ERRORS = (500, 503)


class ServiceMetrics:
    """Version, arms, policy, memory, errors answered, and how full the store is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them; what never changes is set by `describe`."""

        def gauge(
            name: str, text: str, labels: Iterable[str] = (), mode: Mode = "livemax"
        ) -> Gauge:
            name = f"rag_router_{name}"
            return Gauge(name, text, labels, registry=registry, multiprocess_mode=mode)

        self._build = gauge("build_info", "1; the label says which release this is.", ["version"])
        self._arms = gauge("arm_info", "1; the route that an arm takes.", ["arm", "route"])
        self._started = gauge(
            "start_time_seconds", "When the youngest worker started, in seconds since the epoch."
        )
        self._memory = gauge("memory_bytes", "Resident memory of all workers.", mode="livesum")
        self._serving = gauge(
            "policy_serving", "1 for the policy that serves here, 0 for earlier ones.", ["version"]
        )
        self._refused = gauge(
            "policy_refused",
            "1 while this replica refuses the store's active policy, or its candidate.",
            ["which"],
        )
        self._fallback = gauge(
            "policy_fallback",
            "1 while the cached policy or the built-in rules serve because the active policy could "
            "not be had when this replica started.",
        )
        self._problems = Counter(
            "rag_router_problems",
            "Requests answered with a problem document, by HTTP status.",
            ["status"],
            registry=registry,
        )
        self._entries = gauge(
            "store_entries",
            "Entries of the log that the store holds: those that no export has trimmed.",
            ["stream"],
            "livemostrecent",
        )
        self._store_bytes = gauge(
            "store_used_bytes", "Memory in use of the fullest store server.", mode="livemostrecent"
        )
        self._store_limit = gauge(
            "store_limit_bytes", "Its maxmemory; 0 where it has none.", mode="livemostrecent"
        )
        self._last_runs = gauge(
            "last_success_timestamp_seconds",
            "When a scheduled command last succeeded, in seconds since the epoch; 0 for never.",
            ["run"],
        )
        self._versions: set[str] = set()

    def describe(self, arms: Iterable[Arm]) -> None:
        """Set what stays: release, arms, time of start; and the errors to count from 0."""
        self._build.labels(VERSION).set(1)
        for arm in arms:
            self._arms.labels(arm.name, arm.route or "").set(1)
        self._started.set(time.time())
        for status in _ERRORS:
            self._problems.labels(str(status))

    def observe_problem(self, status: int) -> None:
        """Count a request that was answered with an error."""
        self._problems.labels(str(status)).inc()

    def observe_policy(
        self, version: str, *, refused: bool, candidate_refused: bool, fallback: bool
    ) -> None:
        """Take over which policy serves, and what this replica couldn't follow."""
        self._versions.add(version)
        for known in self._versions:
            self._serving.labels(known).set(float(known == version))
        self._refused.labels("active").set(float(refused))
        self._refused.labels("candidate").set(float(candidate_refused))
        self._fallback.set(float(fallback))

    def observe_memory(self) -> None:
        """Take this process's resident memory, where the system tells it."""
        try:
            pages = int(_STATM.read_text(encoding="ascii").split()[1])
        except OSError:
            return
        self._memory.set(pages * os.sysconf("SC_PAGE_SIZE"))

    def observe_store(self, state: StoreState | None) -> None:
        """Take over how full the store is, once that is known."""
        if state is None:
            return
        self._entries.labels("decisions").set(state.decisions)
        self._entries.labels("feedback").set(state.feedback)
        self._store_bytes.set(state.used_bytes)
        self._store_limit.set(state.limit_bytes)
        for run in RUNS:
            self._last_runs.labels(run).set(state.last_runs.get(run, 0.0))
