"""The deciding interval on whole logs, reward models and all; in full: benchmarks."""

import numpy as np
import pytest

from policies.exploration import GREEDY, Exploration, arm_probabilities
from tests.training.worlds import features_of, knowing, prefer, rounds_of, success_rates
from training.judge.conditions import advantage_of
from training.judge.judged_policy import put_on_rounds

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
