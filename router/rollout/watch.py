"""The watch over a rollout: rolls a canary back by itself once it is shown to be worse.

Every process runs one; a lease in the registry has one of them at a time read the log. All follow
what it does as they follow any change of the registry. It works on a thread of its own, and what
it has found is kept in the registry, so that another can go on.
"""

import asyncio
import contextlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from redis.exceptions import RedisError

from policies.errors import PolicyError
from policies.registries import PolicyRegistry
from policies.rollout import Rollout, WatchReport
from router.log.event_reader import EventReader
from router.metrics import Metrics
from router.rollout.reading import RolloutReading
from router.settings import RolloutSettings

_LOGGER = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0
# A holder that is gone is succeeded after this long.
_LEASE_S = 10.0
# Entries of each stream between two reports, a small part of the lease's time.
_MOST_ENTRIES = 2_000
BY = "rollout watch"


class Follower(Protocol):
    """What serves here: it takes part in a rollout, and follows the registry's changes."""

    @property
    def rollout(self) -> Rollout | None:
        """The rollout whose candidate is in shadow or canary here."""

    async def follow(self) -> None:
        """Apply at once what the registry says."""


class RolloutWatch:
    """Looks at the rollout that this process takes part in."""

    def __init__(
        self,
        registry: PolicyRegistry,
        reader: EventReader,
        watcher: Follower,
        settings: RolloutSettings,
        metrics: Metrics,
        owner: str,
    ) -> None:
        """Store what it works with; `owner` is this process's name."""
        self._registry = registry
        self._reader = reader
        self._watcher = watcher
        self._settings = settings
        self._metrics = metrics
        self._owner = owner
        self._reading: RolloutReading | None = None
        self._key = ""
        self._held_at = -float("inf")
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rollout-watch")
        self.report: WatchReport | None = None
        """The latest that any process has found, as far as this one knows."""

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._watch(), name="rollout-watch")

    async def stop(self) -> None:
        """Stop looking; another process takes over, from what was kept."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _watch(self) -> None:
        away = False
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
                away = False
            except (RedisError, OSError) as error:
                if not away:
                    _LOGGER.warning("the rollout can't be watched, the store is away: %s", error)
                away = True
            except Exception:
                # It must outlive a defect: nobody else rolls back.
                _LOGGER.exception("the rollout watch stumbled")
                self._reading = None

    async def look(self) -> None:
        """Read what is new of the rollout, judge it, and act where it is shown to be worse."""
        rollout = self._watcher.rollout
        if rollout is None:
            self._reading, self.report = None, None
        else:
            loop = asyncio.get_running_loop()
            if await loop.run_in_executor(self._thread, self._look, rollout):
                await self._watcher.follow()

    def _look(self, rollout: Rollout) -> bool:
        """Look once, on the thread; whether the registry was changed."""
        if not self._registry.hold_watch(self._owner, _LEASE_S):
            self._reading = None
            self.report = self._registry.watch_report()
            return False
        lapsed = time.monotonic() - self._held_at > _LEASE_S
        self._held_at = time.monotonic()
        if self._reading is None or lapsed or self._key != rollout.key:
            self._take_over(rollout)
        assert self._reading is not None
        new = _MOST_ENTRIES
        while new >= _MOST_ENTRIES:
            new = self._reading.catch_up(_MOST_ENTRIES)
            if new or self.report is None:
                report = self._found(rollout, self._reading)
                if not self._registry.report_watch(report, self._owner, _LEASE_S):
                    self._reading = None  # somebody else keeps it now, and has not read this
                    return False
                self.report = report
        assert self.report is not None
        return self._act(rollout, self.report)

    def _found(self, rollout: Rollout, reading: RolloutReading) -> WatchReport:
        return WatchReport(
            key=rollout.key,
            at=time.time(),
            verdict=reading.book.verdict(),
            metrics=reading.book.findings(),
            state=reading.encoded(),
        )

    def _take_over(self, rollout: Rollout) -> None:
        earlier = self._registry.watch_report()
        mine = earlier is not None and earlier.key == rollout.key
        state = earlier.state if earlier is not None and mine else b""
        self.report = earlier if mine else None
        self._reading = RolloutReading(rollout, self._reader, self._settings, state=state)
        self._key = rollout.key
        _LOGGER.info("watching the %s of policy %s", rollout.stage, rollout.version)

    def _act(self, rollout: Rollout, report: WatchReport) -> bool:
        """Roll back what is worse, promote what is ready where that is wanted."""
        if rollout.stage != "canary":
            return False
        figures = describe(report)
        try:
            if report.verdict == "worse" and self._settings.auto_rollback:
                self._registry.end_rollout(rollout, by=BY, note=figures)
                self._metrics.observe_rollback("watch")
                _LOGGER.warning("canary %s is rolled back: %s", rollout.version, figures)
                return True
            if report.verdict == "ready" and self._settings.auto_promote:
                self._registry.activate(rollout.version, by=BY, note=figures)
                _LOGGER.info("canary %s is promoted: %s", rollout.version, figures)
                return True
        except PolicyError as error:
            _LOGGER.info("the canary has changed meanwhile: %s", error)
        return False


def describe(report: WatchReport) -> str:
    """The figures for people: each metric's advantage, its bounds, and from how many rounds."""
    return "; ".join(
        f"{found.metric} {found.advantage:+.4f} against the incumbent's (bounds {found.lower:+.4f} "
        f"and {found.upper:+.4f}; {found.tolerance:g} worse is tolerated) in {found.rounds} rounds"
        for found in report.metrics
    )
