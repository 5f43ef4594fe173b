"""Drift, as far as the service itself can see it: of queries, and of draws.

Whether rewards still are what the policy expects needs feedback, which the service doesn't join:
`rag-policy report` looks at that. Decisions wait here and are tested together, every TEST_EVERY_S
seconds and outside the path of a query; of those that come meanwhile only the first QUEUE are
tested, which the tests don't mind, since what is left out doesn't depend on what was asked. So few
at a time take a millisecond; five times as many, once a second, took up to 8.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from policies.events import DecisionMade
from policies.features import unpack_features
from policies.sequential.feature_drift import FeatureDrift
from policies.sequential.propensity_test import PropensityTest
from policies.sequential.sequential_test import SequentialTest
from router.serving_policy import ActivePolicy

QUEUE, TEST_EVERY_S = 50, 0.2


class DriftState(NamedTuple):
    """One test as it stands: its evidence, whether its alarm is raised, and what it found."""

    test: str
    log_e_value: float
    alarm: bool
    observed: int
    finding: str


class DriftMonitor:
    """Tests the decisions of this process; each policy that serves begins a new test of queries."""

    def __init__(
        self, active: ActivePolicy, arms: Sequence[str], false_alarm_rate: float, seed: int = 0
    ) -> None:
        """Begin.

        Args:
            active: whose policy's training rows are the reference.
            arms: all configured arms, in the order of each decision's probabilities.
            false_alarm_rate: of each test, over all of its stream; 0 tests nothing.
            seed: of the ties between equal queries.
        """
        self._active = active
        self._rate = false_alarm_rate
        self._seed = seed
        self._waiting: deque[DecisionMade] = deque()
        self._draws = PropensityTest(arms, false_alarm_rate or 1.0)
        self._version = ""
        self._dimension = 0
        self._queries: FeatureDrift | None = None

    def observe(self, events: Sequence[DecisionMade]) -> None:
        """Take note of decisions; they wait for the next `test`."""
        if self._rate:
            self._waiting.extend(events[: QUEUE - len(self._waiting)])

    def test(self) -> None:
        """Test what is waiting."""
        if not self._rate:
            return
        self._follow_policy()
        events = list(self._waiting)
        self._waiting.clear()
        self._test_draws(events)
        self._test_queries(events)

    def states(self) -> list[DriftState]:
        """Test what is waiting, and say where each test stands."""
        if not self._rate:
            return []
        self.test()
        states = [_state("propensities", self._draws.test, self._draws.finding())]
        if self._queries is not None:
            found = f"traffic is unlike the training rows in {', '.join(self._queries.leading())}"
            states.append(_state("queries", self._queries.test, found))
        return states

    def _follow_policy(self) -> None:
        serving = self._active.current
        if serving.policy.version == self._version:
            return
        self._version, self._queries = serving.policy.version, None
        if serving.known is not None:
            self._dimension = serving.known.dimension
            self._queries = FeatureDrift(serving.known, self._rate, self._seed)

    def _test_draws(self, events: Sequence[DecisionMade]) -> None:
        if not events:
            return
        probabilities = np.array([event.probabilities for event in events])
        drawn = np.array([event.arms.index(event.arm) for event in events], dtype=np.intp)
        self._draws.observe(probabilities, drawn)

    def _test_queries(self, events: Sequence[DecisionMade]) -> None:
        """Only decisions that explored: a policy's training rows are such decisions, too."""
        mine = [
            event.features
            for event in events
            if event.policy_version == self._version and _explores(event)
        ]
        if self._queries is not None and mine:
            self._queries.observe(unpack_features(mine, self._dimension))


def _explores(event: DecisionMade) -> bool:
    return sum(p > 0.0 for p in event.probabilities) == len(event.eligible)


def _state(name: str, test: SequentialTest, finding: str) -> DriftState:
    alarm = test.alarmed_at is not None
    return DriftState(name, test.log_value, alarm, test.observed, finding if alarm else "")
