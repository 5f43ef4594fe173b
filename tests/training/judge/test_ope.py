"""Off-policy estimators: the Open Bandit Pipeline's values, and known truths."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.judge.ope import (
    ESTIMATORS,
    Estimate,
    Sample,
    advantage_sample,
    dm,
    dr,
    dr_os,
    dr_rounds,
    ips,
    overlap,
    paired_advantage,
    sndr,
    snips,
    standard_error,
    switch_dr,
)

GOLDEN: dict[str, Callable[[Sample, float], Estimate]] = {
    "ips": lambda sample, _: ips(sample),
    "ips_clipped": ips,
    "snips": lambda sample, _: snips(sample),
    "dm": lambda sample, _: dm(sample),
    "dr": lambda sample, _: dr(sample),
    "sndr": lambda sample, _: sndr(sample),
    "switch_dr": switch_dr,
    "dr_os": dr_os,
}


@pytest.mark.data
@pytest.mark.parametrize("name", GOLDEN)
def test_equals_the_open_bandit_pipeline(name: str, recorded: Path) -> None:
    cases = json.loads((recorded / "obp_golden.json").read_text())["cases"]
    for case in cases:
        sample = Sample(
            action=np.array(case["action"]),
            reward=np.array(case["reward"]),
            pscore=np.array(case["pscore"]),
            action_dist=np.array(case["action_dist"]),
            estimated_rewards=np.array(case["estimated_rewards"]),
        )
        estimate = GOLDEN[name](sample, case["lambda_"])
        assert estimate.value == pytest.approx(case["expected"][name], abs=1e-9)


def draw(seed: int, n: int, *, arms: int = 3) -> tuple[Sample, NDArray[np.float64]]:
    """A sample of a random world, and the evaluated policy's true value on each round."""
    rng = np.random.default_rng(seed)
    logging = rng.dirichlet(np.full(arms, 2.0), size=n) * 0.9 + 0.1 / arms
    target = rng.dirichlet(np.full(arms, 1.0), size=n)
    rates = rng.random((n, arms))
    action = (rng.random(n)[:, None] > logging.cumsum(axis=1)).sum(axis=1).clip(0, arms - 1)
    rows = np.arange(n)
    reward = (rng.random(n) < rates[rows, action]).astype(float)
    sample = Sample(action, reward, logging[rows, action], target, rng.random((n, arms)))
    return sample, (target * rates).sum(axis=1)


@given(st.integers(0, 2**32 - 1))
def test_ips_of_the_logger_itself_is_the_mean_reward(seed: int) -> None:
    sample, _ = draw(seed, 50)
    logger = np.full((50, 3), np.nan)
    logger[np.arange(50), sample.action] = sample.pscore
    assert ips(sample._replace(action_dist=logger)).value == pytest.approx(sample.reward.mean())


@given(st.integers(0, 2**32 - 1))
def test_dr_with_a_perfect_model_is_exact_whatever_was_drawn(seed: int) -> None:
    sample, _ = draw(seed, 50)
    rewards = np.random.default_rng(seed).random((50, 3))
    known = sample._replace(reward=rewards[np.arange(50), sample.action], estimated_rewards=rewards)
    truth = (known.action_dist * rewards).sum() / 50
    for estimate in (dr(known), sndr(known), switch_dr(known, 1.0), dr_os(known, 2.0), dm(known)):
        assert estimate.value == pytest.approx(truth)


@given(st.integers(0, 2**32 - 1), st.floats(-5, 5), st.floats(0.1, 5))
def test_self_normalised_estimates_follow_the_scale_of_the_reward(
    seed: int, shift: float, scale: float
) -> None:
    sample, _ = draw(seed, 50)
    moved = sample._replace(
        reward=sample.reward * scale + shift,
        estimated_rewards=sample.estimated_rewards * scale + shift,
    )
    for estimator in (snips, sndr, dm):
        assert estimator(moved).value == pytest.approx(estimator(sample).value * scale + shift)


@given(st.integers(0, 2**32 - 1))
def test_limits_of_switching_and_shrinking_are_the_plain_estimators(seed: int) -> None:
    sample, _ = draw(seed, 50)
    assert switch_dr(sample, math.inf).value == pytest.approx(dr(sample).value)
    assert dr_os(sample, math.inf).value == pytest.approx(dr(sample).value)
    assert switch_dr(sample, -1.0).value == pytest.approx(dm(sample).value)
    assert dr_os(sample, 0.0).value == pytest.approx(dm(sample).value)
    assert ips(sample, math.inf).value == pytest.approx(ips(sample).value)


@given(st.integers(0, 2**32 - 1))
def test_the_advantage_over_itself_is_nothing(seed: int) -> None:
    sample, _ = draw(seed, 50)
    assert np.allclose(dr_rounds(advantage_sample(sample, sample.action_dist)), 0.0)


def test_a_round_that_was_not_reported_weighs_nothing() -> None:
    sample, _ = draw(0, 100)
    unreported = np.arange(100) % 2 == 0
    silent = sample._replace(
        pscore=np.where(unreported, np.inf, sample.pscore),
        reward=np.where(unreported, 123.0, sample.reward),
    )
    silent_too = silent._replace(reward=np.where(unreported, -123.0, sample.reward))
    for name, estimator in ESTIMATORS.items():
        assert estimator(silent).value == estimator(silent_too).value, name


def test_dm_has_no_interval() -> None:
    sample, _ = draw(0, 100)
    assert dm(sample) == Estimate(dm(sample).value, None, None, None)


@pytest.mark.parametrize("estimator", [ips, snips, dr, sndr])
def test_intervals_cover_the_truth(estimator: Callable[[Sample], Estimate]) -> None:
    """Null: 95 % coverage. Of 400 worlds, fewer than 362 (90.5 %) would be seen once in 10,000."""
    covered = 0
    for seed in range(400):
        sample, truth = draw(seed, 400)
        estimate = estimator(sample)
        assert estimate.lower is not None
        assert estimate.upper is not None
        # The rounds are the population: its own spread isn't part of the truth on them.
        covered += estimate.lower <= truth.mean() <= estimate.upper
    assert covered >= 362


def test_clustered_errors_count_repeated_queries_once() -> None:
    values = np.random.default_rng(0).normal(size=500)
    repeated = np.repeat(values, 4)
    clusters = np.repeat(np.arange(500), 4)
    assert standard_error(repeated, clusters) == pytest.approx(standard_error(values), rel=1e-6)
    assert standard_error(repeated) < 0.6 * standard_error(values)


def test_one_cluster_gives_no_finite_error() -> None:
    assert standard_error(np.array([1.0])) == math.inf
    assert standard_error(np.ones(5), np.zeros(5, dtype=np.intp)) == math.inf


def test_overlap_of_the_logger_itself_is_complete() -> None:
    n = 300
    logging = np.full((n, 3), 1 / 3)
    action = np.arange(n) % 3
    sample = Sample(action, np.ones(n), np.full(n, 1 / 3), logging, np.zeros((n, 3)))
    found = overlap(sample)
    assert found.effective_sample_size == pytest.approx(n)
    assert found.largest_weight == pytest.approx(1.0)
    assert found.mean_weight_z == 0.0
    assert found.support.tolist() == [100, 100, 100]


def test_wrong_propensities_show_in_the_mean_weight() -> None:
    sample, _ = draw(0, 2_000)
    assert abs(overlap(sample).mean_weight_z) < 4.0
    assert overlap(sample._replace(pscore=sample.pscore * 0.7)).mean_weight_z > 4.0


def test_pairing_shrinks_the_error_of_a_difference() -> None:
    sample, _ = draw(0, 2_000)
    incumbent: Any = sample.action_dist * 0.9 + 0.1 / 3
    paired = paired_advantage(sample, incumbent)
    alone = dr(sample)
    assert paired.standard_error is not None
    assert alone.standard_error is not None
    assert paired.standard_error < 0.5 * alone.standard_error
