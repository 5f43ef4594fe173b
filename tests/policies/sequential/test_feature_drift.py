"""Drift of queries: uniform p-values while nothing changes, an alarm when something does."""

import numpy as np
import pytest

from policies.novelty import KnownQueries
from policies.sequential.feature_drift import BETS, FeatureDrift, uniformity_bets
from tests.training.worlds import features_of
from training.fit.known_queries import fit_known_queries


def known(rows: int, rng: np.random.Generator, seed: int = 0) -> KnownQueries:
    return KnownQueries(fit_known_queries(features_of(rows, rng), seed))


def test_every_bet_is_fair() -> None:
    """Their mean over an even grid of p-values is 1; the grid's coarseness costs ½·p^(−½) most."""
    grid = (np.arange(100_000) + 0.5) / 100_000
    factors = uniformity_bets(grid[:, None])
    assert factors.shape == (100_000, 1, BETS)
    np.testing.assert_allclose(factors.mean(axis=0), 1.0, atol=2e-3)


def test_p_values_are_uniform_and_independent_under_the_null() -> None:
    """Null: queries like the calibration rows, of which there are only 100. The mean of 20,000
    p-values from 40 streams has a standard error of 0.002 if they are independent; four of them
    are allowed. Ranks among the calibration rows alone would fail: their mean is off by as much as
    the 100 rows are.
    """
    rng = np.random.default_rng(0)
    streams = [
        FeatureDrift(known(200, rng, seed), 0.01, seed)._p_values(features_of(500, rng))
        for seed in range(40)
    ]
    distance = np.stack(streams)[:, :, 0]
    assert abs(distance.mean() - 0.5) < 4 * np.sqrt(1 / 12 / distance.size)
    assert abs(distance.mean(axis=1).std() - np.sqrt(1 / 12 / 500)) < 0.006


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_stated() -> None:
    """Null as above, at a rate of 0.1, 100 streams of 1,500. More than 18 alarms would be seen
    less than once in 100 runs.
    """
    rng = np.random.default_rng(1)
    alarms = 0
    for seed in range(100):
        drift = FeatureDrift(known(400, rng, seed), 0.1, seed)
        drift.observe(features_of(1_500, rng))
        alarms += drift.test.alarmed_at is not None
    assert alarms <= 18


def test_a_shift_of_the_topic_is_found() -> None:
    rng = np.random.default_rng(2)
    drift = FeatureDrift(known(1_000, rng), 0.01)
    drift.observe(features_of(500, rng))
    assert drift.test.alarmed_at is None
    shifted = features_of(2_000, rng)
    shifted = shifted[shifted[:, 0] > 0.2]
    drift.observe(shifted)
    assert drift.test.alarmed_at is not None
    assert 500 < drift.test.alarmed_at < 1_000
    assert any(channel.startswith(("topic", "distance")) for channel in drift.leading())


def test_a_shift_of_one_question_feature_is_found_and_named() -> None:
    rng = np.random.default_rng(3)
    drift = FeatureDrift(known(1_000, rng), 0.01)
    queries = features_of(300, rng)
    queries[:, -1] = 1.0
    drift.observe(queries)
    assert drift.test.alarmed_at is not None
    assert "asks_yes_no" in drift.leading(2)


def test_pieces_and_the_whole_come_to_the_same() -> None:
    rng = np.random.default_rng(4)
    reference, queries = known(400, rng), features_of(192, rng)
    whole, pieces = FeatureDrift(reference, 0.01), FeatureDrift(reference, 0.01)
    whole.observe(queries)
    for start in range(0, 192, 64):
        pieces.observe(queries[start : start + 64])
    assert pieces.test.value == pytest.approx(whole.test.value)
