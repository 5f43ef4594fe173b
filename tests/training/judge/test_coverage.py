"""The deciding interval on whole logs, reward models and all; in full: benchmarks."""

import dataclasses

import numpy as np
import pytest

from policies.exploration import GREEDY, Exploration, arm_probabilities
from tests.training.worlds import features_of, knowing, prefer, rounds_of, success_rates
from training.judge.conditions import advantage_of
from training.judge.intervals import RewardRange, predictable, value_range
from training.judge.judged_policy import put_on_rounds
from training.judge.ope import dr, dr_rounds
from training.judge.sample import Sample
from training.utility import judge_rounds, sample_of

EPSILON, LOGS = 0.1, 300


def true_advantage(exploration: Exploration) -> float:
    """Of `knowing` over a logger that prefers arm 1, over 400,000 queries."""
    n = 400_000
    features = features_of(n, np.random.default_rng(99))
    utilities = knowing().expected(features)[:, :, 0]
    everywhere = np.ones(utilities.shape, dtype=np.bool_)
    policy = arm_probabilities(utilities, everywhere, exploration)
    difference = policy - prefer(1, n, EPSILON)
    return float((difference * success_rates(features)).sum(axis=1).mean())


@pytest.mark.slow
@pytest.mark.parametrize("n", [300, 1_000])
@pytest.mark.parametrize("exploration", [Exploration(), GREEDY], ids=["squarecb", "greedy"])
def test_the_advantage_is_covered_at_few_draws_and_large_weights(
    n: int, exploration: Exploration
) -> None:
    """Null: 95 % of intervals hold the truth, 97.5 % of each bound; of 300 logs at ε = 0.1, more
    than 28 misses, or 17 by one bound, would be seen once in 1,000 runs.
    """
    truth = true_advantage(exploration)
    above = below = 0
    for seed in range(LOGS):
        rounds = rounds_of(n, np.random.default_rng(seed), probabilities=prefer(1, n, EPSILON))
        estimate = advantage_of(put_on_rounds(knowing(), rounds, rounds.weights, exploration))
        assert estimate.lower is not None
        assert estimate.upper is not None
        above += estimate.lower > truth
        below += estimate.upper < truth
    assert above + below <= 28
    assert above <= 17
    assert below <= 17


def rarely_reporting_half(seed: int, n: int = 1_500) -> Sample:
    """Always taking arm 0, whose value is 0.5, where one tenant of two reports 5 % of outcomes."""
    rng = np.random.default_rng(seed)
    rounds = rounds_of(n, rng, probabilities=prefer(1, n, 0.3))
    often = rng.random(n) < 0.5
    told = rng.random(n) < np.where(often, 0.9, 0.05)
    rounds = dataclasses.replace(
        rounds,
        tenants=np.where(often, "often", "rarely").astype(object),
        values=np.where(told[:, None], rounds.values, np.nan),
    )
    judged = judge_rounds(rounds, rounds.weights, np.full((n, 3, 1), 0.5))
    return sample_of(rounds, judged, np.tile([1.0, 0.0, 0.0], (n, 1)))


def test_the_value_is_covered_where_tenants_report_differently() -> None:
    """Null: 95 % of intervals hold the truth; of 100 logs, more than 13 misses would be seen once
    in 1,000 runs.
    """
    missed = 0
    for seed in range(100):
        found = dr(rarely_reporting_half(seed))
        assert found.lower is not None
        assert found.upper is not None
        missed += not found.lower <= 0.5 <= found.upper
    assert missed <= 13


def test_no_value_leaves_its_stated_range_where_tenants_report_differently() -> None:
    share = RewardRange(0.0, 1.0)
    for seed in range(10):
        sample = predictable(rarely_reporting_half(seed), share)
        low, high = value_range(sample, share)
        values = dr_rounds(sample)
        assert values.min() >= low - 1e-9
        assert values.max() <= high + 1e-9
