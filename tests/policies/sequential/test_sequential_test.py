"""The sequential test: its false-alarm rate holds over the whole stream, and changes are found."""

import math

import numpy as np
import pytest

from policies.sequential.sequential_test import SequentialTest


def coin_bets(heads: np.ndarray) -> np.ndarray:
    """(n, 2) likelihood ratios of a coin of 0.4 and one of 0.6 against a fair one."""
    return np.stack([np.where(heads, 0.8, 1.2), np.where(heads, 1.2, 0.8)], axis=1)


def test_it_starts_with_a_value_of_one() -> None:
    test = SequentialTest(2, 0.05)
    assert test.value == 1.0
    assert test.log_value == 0.0
    assert test.alarmed_at is None


def test_bets_that_pay_nothing_leave_the_value_at_one() -> None:
    """The weights of all starts sum to 1 at any time."""
    test = SequentialTest(3, 0.05)
    test.observe(np.ones((5_000, 3)))
    assert test.value == pytest.approx(1.0, abs=1e-12)
    assert test.observed == 5_000


@pytest.mark.slow
def test_false_alarms_over_whole_streams_are_as_rare_as_stated() -> None:
    """Null: a fair coin, tested after every one of 2,000 throws, at a rate of 0.1. More than 56 of
    400 streams alarming would be seen less than once in 100 runs.
    """
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        test = SequentialTest(2, 0.1)
        test.observe(coin_bets(rng.random(2_000) < 0.5))
        alarms += test.alarmed_at is not None
    assert alarms <= 56


def test_a_change_after_a_long_quiet_time_is_found_soon() -> None:
    """A test that only bets from the start would have lost e^200 by then."""
    rng = np.random.default_rng(1)
    test = SequentialTest(2, 0.01)
    test.observe(coin_bets(rng.random(10_000) < 0.5))
    assert test.alarmed_at is None
    test.observe(coin_bets(rng.random(3_000) < 0.6))
    assert test.alarmed_at is not None
    assert 10_000 < test.alarmed_at < 12_500


def test_an_alarm_stays_raised_and_its_time_is_the_first() -> None:
    test = SequentialTest(2, 0.05)
    test.observe(coin_bets(np.ones(40, dtype=bool)))
    first = test.alarmed_at
    assert first is not None
    test.observe(coin_bets(np.arange(4_000) % 2 == 0))
    assert test.alarmed_at == first
    assert test.log_value < math.log(20)


def test_pieces_and_the_whole_come_to_the_same() -> None:
    factors = coin_bets(np.random.default_rng(2).random(300) < 0.55)
    whole, pieces = SequentialTest(2, 0.05), SequentialTest(2, 0.05)
    whole.observe(factors)
    for start in range(0, 300, 7):
        pieces.observe(factors[start : start + 7])
    assert pieces.value == pytest.approx(whole.value, rel=1e-9)
    assert pieces.alarmed_at == whole.alarmed_at


def test_an_infinite_payoff_is_an_alarm_at_once() -> None:
    test = SequentialTest(2, 1e-6)
    test.observe(np.array([[1.0, np.inf]]))
    assert test.alarmed_at == 1
    assert math.isfinite(test.value)
