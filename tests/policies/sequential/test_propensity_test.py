"""Draws against their probabilities: alarms are rare for right logs, and wrong ones are found."""

import math

import numpy as np
import pytest

from policies.sequential.propensity_test import PropensityTest, draw_bets

ARMS = ("a", "b", "c")


def drawn(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    uniform = rng.random(len(probabilities))[:, None]
    return (uniform > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 2)


def test_every_bet_is_fair_and_masked_arms_cost_nothing() -> None:
    """Σ_a p_a · factor(a) = 1 for each bet: the null's mean, exactly."""
    for p in ([0.7, 0.2, 0.1], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]):
        possible = [arm for arm in range(3) if p[arm] > 0.0]
        rows = np.tile(p, (len(possible), 1))
        factors = draw_bets(rows, np.array(possible))
        np.testing.assert_allclose(np.array(p)[possible] @ factors, 1.0, atol=1e-12)


@pytest.mark.slow
def test_false_alarms_on_right_logs_are_as_rare_as_stated() -> None:
    """Null: arms drawn with their probabilities, 300 streams of 1,500, at a rate of 0.1. More than
    44 alarms would be seen less than once in 100 runs.
    """
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(300):
        probabilities = rng.dirichlet((2.0, 1.0, 0.5), 1_500)
        test = PropensityTest(ARMS, 0.1)
        test.observe(probabilities, drawn(probabilities, rng))
        alarms += test.test.alarmed_at is not None
    assert alarms <= 44


def test_draws_that_ignore_the_floor_are_found_and_named() -> None:
    rng = np.random.default_rng(1)
    probabilities = np.tile([0.8, 0.1, 0.1], (3_000, 1))
    action = drawn(probabilities, rng)
    action[action == 2] = 0
    test = PropensityTest(ARMS, 0.01)
    test.observe(probabilities, action)
    assert test.test.alarmed_at is not None
    assert test.test.alarmed_at < 500
    assert "c is drawn less often than logged" in test.finding()


def test_an_arm_of_probability_zero_alarms_at_once() -> None:
    test = PropensityTest(ARMS, 0.001)
    test.observe(np.array([[0.5, 0.5, 0.0]]), np.array([2]))
    assert test.test.alarmed_at == 1
    assert math.isfinite(test.test.log_value)


def test_a_lone_arm_is_no_evidence() -> None:
    test = PropensityTest(ARMS, 0.01)
    test.observe(np.tile([0.0, 1.0, 0.0], (500, 1)), np.ones(500, dtype=np.intp))
    assert test.test.log_value == pytest.approx(0.0, abs=1e-9)
