"""The doubly robust estimate's error: what it draws on, and that the sample decides in the end."""

import math
from typing import Any

import numpy as np
import pytest

from training.judge.ope import dr, dr_rounds
from training.judge.sample import Sample
from training.judge.variance import design_variance, dr_error, sample_error, standard_error


def draw(seed: int, n: int, *, noisy_half: bool = False) -> Sample:
    """Rounds of an ε-greedy logger; with `noisy_half`, residuals that depend on the query."""
    rng = np.random.default_rng(seed)
    logging = np.tile([0.8, 0.1, 0.1], (n, 1))
    half = np.arange(n) % 2 == 0
    target = np.where(half[:, None], [0.0, 1.0, 0.0], [0.8, 0.1, 0.1])
    action = (rng.random(n)[:, None] > logging.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    spread = np.where(half, 3.0, 0.1) if noisy_half else np.ones(n)
    reward = rng.normal(size=n) * spread
    rows = np.arange(n)
    return Sample(action, reward, logging[rows, action], target, np.zeros((n, 3)), rows, logging)


def test_without_every_arms_propensity_the_samples_error_is_all_there_is() -> None:
    sample = draw(0, 500)._replace(logging=None)
    assert dr_error(sample, dr_rounds(sample)) == sample_error(sample, dr_rounds(sample))


def test_the_designs_variance_is_the_formulas() -> None:
    """π²/p · σ² of the drawn arms, and the baseline's own variance."""
    sample = draw(0, 200_000)
    expected = 0.5 * 1.0**2 / 0.1 + 0.5 * (0.8 + 0.1 + 0.1)
    assert design_variance(sample) == pytest.approx(expected, rel=0.03)
    predicted: Any = np.where(np.arange(200_000)[:, None] % 2 == 0, 2.0, 0.0) * np.ones(3)
    offset = sample._replace(estimated_rewards=predicted, reward=sample.reward + predicted[:, 0])
    assert design_variance(offset) == pytest.approx(expected + 1.0, rel=0.1)


def test_residuals_count_by_the_weight_that_their_query_could_have_had() -> None:
    """Where the policy departs from the logger, residuals are thirty times as spread."""
    sample = draw(0, 200_000, noisy_half=True)
    expected = 0.5 * 1.0**2 / 0.1 * 3.0**2 + 0.5 * 0.1**2
    assert design_variance(sample) == pytest.approx(expected, rel=0.05)


def test_a_rare_arms_variance_follows_the_predicted_reward() -> None:
    """The one draw of arm 1 tells nothing; that its answers are right half the time does."""
    rng = np.random.default_rng(0)
    n = 5_000
    logging = np.tile([0.9998, 0.0002], (n, 1))
    action = np.zeros(n, dtype=np.intp)
    action[0] = 1
    reward = (rng.random(n) < 0.95).astype(float)
    sample = Sample(
        action, reward, logging[np.arange(n), action], np.tile([0.0, 1.0], (n, 1)),
        np.tile([0.95, 0.5], (n, 1)), None, logging,
    )  # fmt: skip
    assert design_variance(sample) == pytest.approx(0.25 / 0.0002, rel=0.1)


def test_an_arm_with_no_draws_is_as_noisy_as_the_others() -> None:
    sample = draw(0, 4_000)
    only = sample._replace(action_dist=np.tile([0.0, 0.0, 1.0], (4_000, 1)))
    kept = only.rows(only.action != 2)
    assert design_variance(kept) == pytest.approx((kept.residuals**2).mean() / 0.1, rel=0.1)


def test_unreported_rounds_count_as_rows_but_not_as_draws() -> None:
    sample = draw(0, 20_000)
    silent = np.random.default_rng(0).random(20_000) < 0.5
    quiet = sample._replace(
        pscore=np.where(silent, np.inf, sample.pscore * 0.5),
        logging=None if sample.logging is None else sample.logging * 0.5,
        reward=np.where(silent, 0.0, sample.reward),
    )
    assert design_variance(quiet) == pytest.approx(design_variance(quiet.rows(~silent)), rel=0.05)


def test_the_sample_decides_in_the_end_where_the_designs_assumption_is_wrong() -> None:
    """Arm 1's residuals are wide where it is rarely drawn, which its few draws there can't tell."""
    rng = np.random.default_rng(0)
    n = 400_000
    rare = np.arange(n) % 2 == 0
    logging = np.where(rare[:, None], [0.98, 0.02], [0.2, 0.8])
    action = (rng.random(n) < logging[:, 1]).astype(np.intp)
    spread = np.where(rare & (action == 1), 3.0, 0.3)
    sample = Sample(
        action, rng.normal(size=n) * spread, logging[np.arange(n), action],
        np.tile([0.0, 1.0], (n, 1)), np.zeros((n, 2)), np.arange(n), logging,
    )  # fmt: skip
    rounds = dr_rounds(sample)
    own = sample_error(sample, rounds)
    assert math.sqrt(design_variance(sample) / n) < 0.8 * own
    assert dr_error(sample, rounds) == pytest.approx(own, rel=0.03)


def test_repeated_queries_widen_the_designs_error_too() -> None:
    once = draw(0, 200)
    often = once.rows(np.tile(np.arange(200), 10))
    one, many = dr(once).standard_error, dr(often).standard_error
    assert one is not None
    assert many == pytest.approx(one, rel=0.1)


def test_a_single_round_has_no_finite_error() -> None:
    sample = draw(0, 1)
    assert dr_error(sample, dr_rounds(sample)) == math.inf
    assert standard_error(np.array([1.0])) == math.inf
