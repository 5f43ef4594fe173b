"""Weights for being observed: right where reporting follows the query, and where it follows the
outcome and audits tell."""

import dataclasses

import numpy as np
import pytest

from tests.training.worlds import rounds_of, success_rates
from training.fit.pseudo_outcomes import draws_of
from training.log.rounds import LoggedRounds
from training.remarks import remarks
from training.reporting.model import fit_reporting_model
from training.reporting.probabilities import FLOOR, reporting_probabilities
from training.reporting.shares import reporting_shares


def silenced(rounds: LoggedRounds, rate: np.ndarray, rng: np.random.Generator) -> LoggedRounds:
    """The rounds, each outcome reported at its rate (n,)."""
    told = rng.random(len(rounds)) < rate
    return dataclasses.replace(rounds, values=np.where(told[:, None], rounds.values, np.nan))


def arm_values(rounds: LoggedRounds) -> np.ndarray:
    """(3,) each arm's mean, drawn rounds weighted as pseudo-outcomes weigh them."""
    weights = draws_of(rounds, rounds.features.astype(np.float64)).inverse[:, :, 0]
    values = np.nan_to_num(rounds.values)
    return np.asarray((weights * values).sum(axis=0) / weights.sum(axis=0))


def follows_the_query(rounds: LoggedRounds) -> np.ndarray:
    """(n,) reporting rates: for arm 0 queries on which it does well report more."""
    likely = 1.0 / (1.0 + np.exp(0.5 - 3.0 * rounds.features[:, 0].astype(np.float64)))
    return np.where(rounds.action == 0, likely, 0.6)


def test_a_model_is_right_where_shares_are_biased() -> None:
    """Null: unbiased over 20 logs of 4,000. Shares are off by .08, the model by little."""
    rng = np.random.default_rng(0)
    errors, by_share = [], []
    for _ in range(20):
        rounds = rounds_of(4_000, rng)
        silent = silenced(rounds, follows_the_query(rounds), rng)
        errors.append(arm_values(silent)[0] - success_rates(rounds.features)[:, 0].mean())
        known = ~np.isnan(silent.values[:, 0])
        mine = known & (rounds.action == 0)
        by_share.append(rounds.values[mine, 0].mean() - success_rates(rounds.features)[:, 0].mean())
    assert np.mean(by_share) > 0.05
    # The penalty leaves a little of the bias: a fifth at most.
    assert abs(np.mean(errors)) < 0.2 * np.mean(by_share)


def test_shares_are_kept_where_a_model_knows_no_better() -> None:
    """Null: reporting follows the arm alone; the model may win by luck in 1 log of 20."""
    rng = np.random.default_rng(1)
    taken = 0
    for seed in range(10):
        rounds = rounds_of(2_000, rng)
        known = rng.random(2_000) < np.array([0.3, 0.6, 0.9])[rounds.action]
        taken += fit_reporting_model(rounds, known, seed=seed) is not None
    assert taken <= 1


def test_few_reports_leave_the_shares() -> None:
    rng = np.random.default_rng(2)
    rounds = rounds_of(1_000, rng)
    known = rng.random(1_000) < 0.1
    assert fit_reporting_model(rounds, known) is None
    found = reporting_probabilities(rounds, known, rounds.values[:, 0])
    np.testing.assert_allclose(found, reporting_shares(rounds, known))


def test_no_reporting_probability_is_below_the_floor() -> None:
    rng = np.random.default_rng(3)
    rounds = rounds_of(5_000, rng)
    known = rng.random(5_000) < np.array([0.004, 0.5, 0.9])[rounds.action]
    assert reporting_probabilities(rounds, known, rounds.values[:, 0]).min() == FLOOR


def not_at_random(n: int, rng: np.random.Generator, share: float) -> LoggedRounds:
    """Successes are reported at .7, failures at .2, audited rounds whatever they are."""
    rounds = rounds_of(n, rng)
    rounds = dataclasses.replace(rounds, audited=rng.random(n) < share)
    rate = np.where(rounds.values[:, 0] == 1.0, 0.7, 0.2)
    return silenced(rounds, np.where(rounds.audited, 1.0, rate), rng)


def test_audits_correct_feedback_that_depends_on_the_outcome() -> None:
    """Null: unbiased; 20 logs of 10,000 with 5 % audits. z beyond 4 in 1 of 5,000 runs an arm."""
    rng = np.random.default_rng(4)
    naive, corrected = [], []
    for _ in range(20):
        rounds = not_at_random(10_000, rng, 0.05)
        truth = success_rates(rounds.features).mean(axis=0)
        corrected.append(arm_values(rounds) - truth)
        unaware = dataclasses.replace(rounds, audited=np.zeros(10_000, dtype=np.bool_))
        naive.append(arm_values(unaware) - truth)
    assert np.mean(naive) > 0.2
    errors = np.array(corrected)
    z = errors.mean(axis=0) / (errors.std(axis=0, ddof=1) / np.sqrt(len(errors)))
    assert (np.abs(z) < 4.0).all()
    assert np.abs(errors.mean(axis=0)).max() < 0.03


def test_a_warning_says_that_reporting_depends_on_the_outcome() -> None:
    rng = np.random.default_rng(5)
    [line] = [line for line in remarks(not_at_random(10_000, rng, 0.05)) if "audited" in line]
    assert line.startswith("warning: quality is 0.5")


def test_audits_agree_with_feedback_that_is_missing_at_random() -> None:
    """Null: no difference. 20 logs warn with probability .01: more than 3 in 1 of 20,000."""
    rng = np.random.default_rng(6)
    warned = 0
    for _ in range(20):
        rounds = rounds_of(3_000, rng)
        rounds = dataclasses.replace(rounds, audited=rng.random(3_000) < 0.1)
        silent = silenced(rounds, np.where(rounds.audited, 1.0, 0.4), rng)
        warned += any("warning" in line for line in remarks(silent))
    assert warned <= 3


def test_audits_that_few_answer_are_not_trusted_and_that_is_said() -> None:
    rng = np.random.default_rng(7)
    rounds = rounds_of(10_000, rng)
    rounds = dataclasses.replace(rounds, audited=rng.random(10_000) < 0.05)
    rate = np.where(rounds.values[:, 0] == 1.0, 0.7, 0.2)
    lines = list(remarks(silenced(rounds, rate, rng)))
    assert any("ask for the outcome of every one" in line for line in lines)
    assert not any(line.startswith("warning") for line in lines)


@pytest.mark.parametrize("told", [True, False])
def test_all_or_nothing_reported_needs_no_estimate(told: bool) -> None:
    rounds = rounds_of(100, np.random.default_rng(8))
    known = np.full(100, told)
    found = reporting_probabilities(rounds, known, rounds.values[:, 0])
    np.testing.assert_array_equal(found, known.astype(float))
