"""Intervals of a doubly robust value: coverage, and what each may know."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.judge.intervals import (
    RewardRange,
    bootstrap_t,
    bounded,
    intervals,
    predictable,
    value_range,
)
from training.judge.ope import Estimate, dr, dr_rounds
from training.judge.sample import Sample

SHARE = RewardRange(0.0, 1.0)


def draw(seed: int, n: int, *, epsilon: float = 0.3) -> tuple[Sample, float]:
    """Rounds of an ε-greedy logger and another arm's advantage over it, with the true one."""
    rng = np.random.default_rng(seed)
    logging = np.tile([1.0 - 2 * epsilon / 3, epsilon / 3, epsilon / 3], (n, 1))
    lean = rng.random(n)
    rates = np.column_stack([0.3 + 0.2 * lean, 0.2 + 0.4 * lean, np.full(n, 0.3)])
    target = np.where(lean[:, None] > 0.5, [0.1, 0.8, 0.1], [0.8, 0.1, 0.1])
    action = (rng.random(n)[:, None] > logging.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    rows = np.arange(n)
    reward = (rng.random(n) < rates[rows, action]).astype(float)
    predicted = np.column_stack([np.full(n, 0.4), 0.25 + 0.3 * lean, np.full(n, 0.35)])
    sample = Sample(
        action, reward, logging[rows, action], target - logging, predicted, rows, logging
    )
    # By half: lean above 0.5 averages 0.75, below it 0.25.
    upper = np.array([0.45, 0.5, 0.3]) @ (np.array([0.1, 0.8, 0.1]) - logging[0])
    lower = np.array([0.35, 0.3, 0.3]) @ (np.array([0.8, 0.1, 0.1]) - logging[0])
    return sample, float(upper + lower) / 2


def test_nominal_95_percent_is_kept() -> None:
    """Null: each misses in at most 5 % of 300 logs; more than 28 would be seen once in 1,000 runs.

    The two bounded ones hold at any sample size, and are far from missing so often.
    """
    missed = dict.fromkeys(("dr_normal", "bootstrap_t", "empirical_bernstein", "anytime"), 0)
    for seed in range(300):
        sample, truth = draw(seed, 1_000)
        for name, interval in intervals(sample, SHARE, replicates=200, seed=seed).items():
            missed[name] += not interval.lower <= truth <= interval.upper
    assert missed["dr_normal"] <= 28
    assert missed["bootstrap_t"] <= 28
    assert missed["empirical_bernstein"] <= 5
    assert missed["anytime"] <= 5


def rare_arm(seed: int) -> tuple[Sample, float]:
    """300 rounds, ten of which drew the arm that the candidate takes in three of ten."""
    rng = np.random.default_rng(seed)
    n, epsilon, rates = 300, 0.1, np.array([0.3, 0.2, 0.3])
    logging = np.tile([1.0 - 2 * epsilon / 3, epsilon / 3, epsilon / 3], (n, 1))
    target = np.where(rng.random(n)[:, None] < 0.3, [0.0, 1.0, 0.0], [1.0, 0.0, 0.0])
    action = (rng.random(n)[:, None] > logging.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    rows = np.arange(n)
    reward = (rng.random(n) < rates[action]).astype(float)
    sample = Sample(
        action, reward, logging[rows, action], target - logging, np.tile(rates, (n, 1)), rows,
        logging,
    )  # fmt: skip
    return sample, float((np.array([0.7, 0.3, 0.0]) - logging[0]) @ rates)


def _holds(estimate: Estimate, truth: float) -> bool:
    assert estimate.lower is not None
    assert estimate.upper is not None
    return estimate.lower <= truth <= estimate.upper


def test_few_draws_at_large_weights_dont_make_the_deciding_interval_too_narrow() -> None:
    """Null: it misses in at most 5 % of 300 logs; more than 28 would be seen once in 1,000 runs.
    The sample's own error alone misses in more.
    """
    missed = plain = 0
    for seed in range(300):
        sample, truth = rare_arm(seed)
        interval, own = dr(sample), dr(sample._replace(logging=None))
        missed += not _holds(interval, truth)
        plain += not _holds(own, truth)
    assert missed <= 28 < plain


def test_the_bootstrap_counts_repeated_queries_once() -> None:
    values = np.random.default_rng(0).normal(size=200)
    once = bootstrap_t(values)
    often = bootstrap_t(np.repeat(values, 5), np.repeat(np.arange(200), 5))
    apart = bootstrap_t(np.repeat(values, 5))
    assert often.upper - often.lower == pytest.approx(once.upper - once.lower, rel=0.1)
    assert apart.upper - apart.lower < 0.6 * (once.upper - once.lower)


def test_the_bootstrap_is_seeded_and_merges_many_clusters() -> None:
    values = np.random.default_rng(0).exponential(size=5_000)
    assert bootstrap_t(values, seed=3) == bootstrap_t(values, seed=3)
    assert bootstrap_t(values, seed=3) != bootstrap_t(values, seed=4)
    normal = 2 * 1.96 * values.std() / math.sqrt(5_000)
    found = bootstrap_t(values)
    assert found.upper - found.lower == pytest.approx(normal, rel=0.1)


def test_a_skewed_mean_gets_a_skewed_interval() -> None:
    values = np.random.default_rng(0).exponential(size=60)
    found = bootstrap_t(values, replicates=2_000)
    assert found.upper - values.mean() > 1.1 * (values.mean() - found.lower)


def test_without_variation_or_with_one_cluster_nothing_is_made_up() -> None:
    constant = bootstrap_t(np.full(10, 0.3))
    assert (constant.lower, constant.upper) == pytest.approx((0.3, 0.3))
    alone = bootstrap_t(np.arange(5.0), np.zeros(5, dtype=np.intp))
    assert (alone.lower, alone.upper) == (-math.inf, math.inf)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_every_value_lies_within_the_stated_range(seed: int, unreported: bool) -> None:
    sample, _ = draw(seed, 60)
    if unreported:
        silent = np.random.default_rng(seed).random(60) < 0.5
        sample = sample._replace(pscore=np.where(silent, np.inf, sample.pscore))
    for one in (sample, predictable(sample, SHARE)):
        low, high = value_range(one, SHARE)
        values = dr_rounds(one)
        assert low - 1e-9 <= values.min()
        assert values.max() <= high + 1e-9


def test_the_sequences_reward_model_doesnt_know_the_future() -> None:
    sample, _ = draw(0, 200)
    changed = sample.reward.copy()
    changed[100:] = 1.0 - changed[100:]
    before = predictable(sample, SHARE).estimated_rewards
    after = predictable(sample._replace(reward=changed), SHARE).estimated_rewards
    assert np.array_equal(before[:101], after[:101])
    assert not np.array_equal(before[101:], after[101:])
    assert before[0].tolist() == [0.5, 0.5, 0.5]


def test_bounds_tuned_to_the_logs_length_are_tighter_there() -> None:
    sample, _ = draw(0, 2_000)
    running = predictable(sample, SHARE)
    reach = value_range(running, SHARE)
    anytime, tuned = bounded(running, reach), bounded(running, reach, horizon=len(sample))
    assert tuned.upper - tuned.lower < anytime.upper - anytime.lower
    assert anytime.range == tuple(reach)


def test_the_advantage_over_itself_is_exactly_nothing() -> None:
    sample, _ = draw(0, 100)
    same = sample._replace(action_dist=np.zeros((100, 3)))
    for name, interval in intervals(same, SHARE).items():
        assert (interval.lower, interval.upper) == (0.0, 0.0), name


def test_a_range_needs_every_arms_propensity() -> None:
    sample, _ = draw(0, 100)
    with pytest.raises(ValueError, match="needs every arm's propensity"):
        value_range(sample._replace(logging=None), SHARE)
    assert set(intervals(sample._replace(logging=None), SHARE)) == {"dr_normal", "bootstrap_t"}
