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
    assert design_variance(sample) == pytest.approx(expected, rel=0.02)
    predicted: Any = np.where(np.arange(200_000)[:, None] % 2 == 0, 2.0, 0.0) * np.ones(3)
    offset = sample._replace(estimated_rewards=predicted, reward=sample.reward + predicted[:, 0])
    assert design_variance(offset) == pytest.approx(expected + 1.0, rel=0.02)


def test_an_arm_with_no_draws_is_as_noisy_as_the_others() -> None:
    sample = draw(0, 400)
    kept = sample.rows(sample.action != 2)
    assert kept.arm_variances[2] == pytest.approx((kept.residuals**2).mean())


def test_unreported_rounds_count_as_rows_but_not_as_draws() -> None:
    sample = draw(0, 400)
    silent = np.random.default_rng(0).random(400) < 0.5
    quiet = sample._replace(
        pscore=np.where(silent, np.inf, sample.pscore * 0.5),
        logging=None if sample.logging is None else sample.logging * 0.5,
        reward=np.where(silent, 0.0, sample.reward),
    )
    heard = quiet.rows(~silent)
    assert np.allclose(quiet.arm_variances, heard.arm_variances)
    assert design_variance(quiet) == pytest.approx(design_variance(heard), rel=0.05)


def test_the_sample_decides_in_the_end_where_the_designs_assumption_is_wrong() -> None:
    """Residuals nine times as spread where the weights are: the design's variance is too small."""
    sample = draw(0, 400_000, noisy_half=True)
    rounds = dr_rounds(sample)
    own = sample_error(sample, rounds)
    assert math.sqrt(design_variance(sample) / len(sample)) < 0.8 * own
    assert dr_error(sample, rounds) == pytest.approx(own, rel=0.02)


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
