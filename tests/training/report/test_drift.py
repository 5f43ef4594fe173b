"""Drift tests on logs: false alarms as rare as stated, and what is wrong found and named."""

import dataclasses

import numpy as np
import pytest

from policies.novelty import KnownQueries
from tests.training.worlds import features_of, knowing, prefer, rounds_of, success_rates
from training.fit.known_queries import with_known_queries
from training.log.rounds import LoggedRounds
from training.report.drift import (
    DriftTest,
    expectation_drift,
    mean_bets,
    propensity_drift,
    query_drift,
    standardised,
)


def log(n: int = 2_000, seed: int = 0, **settings: object) -> LoggedRounds:
    return rounds_of(n, np.random.default_rng(seed), **settings)  # type: ignore[arg-type]


def expecting(rounds: LoggedRounds, off: float = 0.0) -> LoggedRounds:
    """The rounds, served by a policy that knows the world, or is off by a constant."""
    return dataclasses.replace(rounds, expected=success_rates(rounds.features)[:, :, None] + off)


def alarms(tests: list[DriftTest]) -> list[str]:
    return [test.name for test in tests if test.alarm]


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_stated() -> None:
    """Null: right draws and right expectations, 150 logs of 1,200 rounds, at a rate of 0.1 for
    each kind of test, its streams together. More than 24 alarms would be seen less than once in
    100 runs.
    """
    counts = {"draws": 0, "expectations": 0}
    for seed in range(150):
        rounds = expecting(log(1_200, seed, probabilities=prefer(1, 1_200, 0.6)))
        counts["draws"] += bool(alarms(propensity_drift(rounds, 0.1)))
        counts["expectations"] += bool(alarms(expectation_drift(rounds, 0.1)))
    assert max(counts.values()) <= 24


def test_an_altered_log_is_found_and_so_is_its_tenant() -> None:
    rounds = log(6_000, tenants=("good", "bad", "good", "good"))
    action = rounds.action.copy()
    bad = rounds.tenants == "bad"
    action[bad & (action == 0) & (np.arange(6_000) % 8 < 4)] = 1
    tests = propensity_drift(dataclasses.replace(rounds, action=action))
    assert alarms(tests) == ["all", "tenant bad"]
    found = tests[-1] if tests[-1].name == "tenant bad" else tests[1]
    assert "none is drawn less often" in found.finding or "single is drawn more" in found.finding
    assert found.since is not None
    assert found.false_alarm_rate == tests[0].false_alarm_rate / 2


def test_one_tenant_alone_is_tested_once() -> None:
    assert [test.name for test in propensity_drift(log(300))] == ["all"]


def test_expectations_that_no_longer_hold_are_found_from_when_they_dont() -> None:
    rounds = expecting(log(6_000))
    values = rounds.values.copy()
    late = np.arange(6_000) >= 3_000
    values[late & (rounds.action == 2), 0] *= (
        np.random.default_rng(1).random(int((late & (rounds.action == 2)).sum())) < 0.5
    )
    tests = expectation_drift(dataclasses.replace(rounds, values=values))
    assert alarms(tests) == ["quality of multi"]
    [found] = [test for test in tests if test.alarm]
    assert found.since is not None
    assert 3_000 < found.since < 5_000
    assert "expected 0.5" in found.finding


def test_an_error_within_the_tolerance_is_no_alarm() -> None:
    assert alarms(expectation_drift(expecting(log(6_000), off=0.02))) == []


def test_only_the_policy_that_served_last_is_held_to_its_expectations() -> None:
    rounds = expecting(log(4_000))
    off = rounds.expected.copy()
    off[:2_000] += 0.4
    versions = np.where(np.arange(4_000) < 2_000, "old", "new").astype(object)
    both = dataclasses.replace(rounds, expected=off, policy_versions=versions)
    assert alarms(expectation_drift(both)) == []
    assert sum(test.rows for test in expectation_drift(both)) == 2_000


def test_metrics_of_which_nothing_was_expected_or_reported_are_left_alone() -> None:
    assert expectation_drift(log()) == []
    silent = dataclasses.replace(log(), values=np.full((2_000, 1), np.nan))
    assert expectation_drift(expecting(silent)) == []


def test_amounts_are_measured_in_their_own_spread() -> None:
    """Latencies of some seconds: heavier by a third in the later half of the log."""
    rng = np.random.default_rng(3)
    rounds = log(6_000)
    latency = rng.lognormal(0.5, 0.5, size=(6_000, 1))
    expected = np.full((6_000, 3, 1), np.exp(0.5 + 0.125))
    usual = dataclasses.replace(rounds, metrics=("latency_s",), values=latency, expected=expected)
    assert alarms(expectation_drift(usual)) == []
    slower = latency.copy()
    slower[3_000:] *= 1.33
    found = expectation_drift(dataclasses.replace(usual, values=slower))
    assert len(alarms(found)) == 3
    assert all(test.since is not None and test.since > 3_000 for test in found)


def test_mean_bets_are_fair_within_the_tolerance() -> None:
    """Residuals of ±1 with a mean at the tolerance, exactly: each bet's mean is at most 1."""
    for mean in (-0.03, 0.0, 0.03):
        p = (1.0 + mean) / 2.0
        factors = mean_bets(np.array([1.0, -1.0]), 0.03)
        assert (p * factors[0] + (1.0 - p) * factors[1] <= 1.0 + 1e-12).all()
        assert (factors >= 0.0).all()


def test_a_standard_deviation_is_taken_from_the_past_alone() -> None:
    residuals = np.random.default_rng(4).normal(size=200)
    changed = residuals.copy()
    changed[100] = 50.0
    np.testing.assert_array_equal(
        standardised(residuals)[: 100 - 30], standardised(changed)[: 100 - 30]
    )
    assert standardised(changed)[100 - 30] == 1.0


def test_queries_are_held_against_the_training_rows_after_the_window() -> None:
    rng = np.random.default_rng(5)
    policy = with_known_queries(knowing(), features_of(800, rng), 0)
    known = KnownQueries.of(policy.artifact())
    assert known is not None
    rounds = log(2_000, seed=6)
    assert not query_drift(rounds, known, since=499.0).alarm
    assert query_drift(rounds, known, since=499.0).rows == 1_500
    features = rounds.features.copy()
    features[1_000:, -1] = 1.0
    found = query_drift(dataclasses.replace(rounds, features=features), known, since=499.0)
    assert found.alarm
    assert found.since is not None
    assert 1_000 <= found.since < 1_100
    assert "asks_yes_no" in found.finding
