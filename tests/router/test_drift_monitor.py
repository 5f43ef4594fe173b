"""The service's own drift tests, on decisions as they are logged."""

import msgspec
import numpy as np
import pytest

from policies.arms import DEFAULT_ARMS
from policies.artifact import seal
from policies.events import DecisionMade
from policies.exploration import Exploration
from policies.features import pack_features
from policies.linear_policy import LinearPolicy
from router.drift_monitor import QUEUE, DriftMonitor, DriftState
from router.serving_policy import ActivePolicy, fit_to_service
from tests.event_factory import decision
from tests.training.worlds import DIMENSION, always, features_of
from training.fit.known_queries import with_known_queries

NAMES = [arm.name for arm in DEFAULT_ARMS]


def serving(seed: int) -> ActivePolicy:
    manifest = msgspec.structs.replace(always(0).artifact().manifest, arms=NAMES, version="")
    policy = LinearPolicy.from_artifact(seal(manifest, always(0).artifact().tensors))
    known = with_known_queries(policy, features_of(400, np.random.default_rng(seed)), seed)
    fitted = fit_to_service(known, DEFAULT_ARMS, "test-1", DIMENSION, Exploration(), promoted=True)
    return ActivePolicy(fitted)


def decisions(
    active: ActivePolicy, n: int, seed: int, probabilities: tuple[float, ...] = (0.8, 0.1, 0.1)
) -> list[DecisionMade]:
    rng = np.random.default_rng(seed)
    return [
        msgspec.structs.replace(
            decision(number),
            arms=NAMES,
            eligible=NAMES,
            probabilities=list(probabilities),
            arm=str(rng.choice(NAMES, p=probabilities)),
            policy_version=active.current.policy.version,
            features=pack_features(row),
        )
        for number, row in enumerate(features_of(n, rng))
    ]


def state(monitor: DriftMonitor, name: str) -> DriftState:
    [found] = [state for state in monitor.states() if state.test == name]
    return found


def feed(monitor: DriftMonitor, events: list[DecisionMade]) -> None:
    for start in range(0, len(events), QUEUE):
        monitor.observe(events[start : start + QUEUE])
        monitor.states()


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_stated() -> None:
    """Null: right draws on queries like the training rows, 60 services of 1,000 decisions, both
    tests at a rate of 0.1. More than 13 alarms of either would be seen less than once in 100 runs.
    """
    alarms = {"queries": 0, "propensities": 0}
    for seed in range(60):
        active = serving(seed)
        monitor = DriftMonitor(active, NAMES, 0.1, seed)
        feed(monitor, decisions(active, 1_000, 1_000 + seed))
        for found in monitor.states():
            alarms[found.test] += found.alarm
    assert max(alarms.values()) <= 13


def test_a_draw_that_never_explores_is_found() -> None:
    active = serving(0)
    monitor = DriftMonitor(active, NAMES, 0.01)
    broken = [msgspec.structs.replace(event, arm=NAMES[0]) for event in decisions(active, 200, 1)]
    feed(monitor, broken)
    found = state(monitor, "propensities")
    assert found.alarm
    assert found.finding
    assert not state(monitor, "queries").alarm


def test_a_new_policy_begins_a_new_test_of_queries() -> None:
    active = serving(0)
    monitor = DriftMonitor(active, NAMES, 0.01)
    shifted = [
        msgspec.structs.replace(event, features=pack_features(np.ones(DIMENSION, np.float32)))
        for event in decisions(active, 100, 1)
    ]
    feed(monitor, shifted)
    assert state(monitor, "queries").alarm
    active.swap(serving(1).current)
    fresh = state(monitor, "queries")
    assert (fresh.alarm, fresh.observed) == (False, 0)
    assert state(monitor, "propensities").observed == 100


def test_decisions_of_another_policy_or_without_exploration_are_left_out_of_the_queries() -> None:
    active = serving(0)
    monitor = DriftMonitor(active, NAMES, 0.01)
    events = decisions(active, 30, 1)
    events[:10] = [msgspec.structs.replace(e, policy_version="older") for e in events[:10]]
    events[10:15] = [
        msgspec.structs.replace(e, probabilities=[1.0, 0.0, 0.0], arm=NAMES[0], propensity=1.0)
        for e in events[10:15]
    ]
    monitor.observe(events)
    assert state(monitor, "queries").observed == 15


def test_more_decisions_than_the_queue_holds_are_let_go() -> None:
    active = serving(0)
    monitor = DriftMonitor(active, NAMES, 0.01)
    for _ in range(3):
        monitor.observe(decisions(active, 200, 1))
    assert state(monitor, "propensities").observed == QUEUE
    monitor.observe(decisions(active, 5, 2))
    assert state(monitor, "propensities").observed == QUEUE + 5
