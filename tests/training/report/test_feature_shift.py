"""Later queries against earlier: Holm's rate holds, also for traffic that repeats itself."""

import dataclasses

import numpy as np
import pytest

from tests.training.worlds import rounds_of
from training.fit.folds import group_numbers
from training.log.rounds import LoggedRounds
from training.report.feature_shift import MIN_SIDE, feature_shift, mean_difference_z


def log(n: int = 1_500, seed: int = 0) -> LoggedRounds:
    return rounds_of(n, np.random.default_rng(seed))


def repeated(rounds: LoggedRounds, distinct: int, seed: int) -> LoggedRounds:
    """The rounds' queries drawn, with replacement, from the first of them."""
    again = np.random.default_rng(seed).integers(distinct, size=len(rounds))
    hashes = np.array([f"hash-{row}" for row in again], dtype=object)
    return dataclasses.replace(
        rounds,
        features=rounds.features[again],
        query_hashes=hashes,
        groups=group_numbers(hashes.tolist()),
    )


@pytest.mark.slow
@pytest.mark.parametrize("distinct", [None, 900])
def test_false_alarms_are_as_rare_as_stated(distinct: int | None) -> None:
    """Null: the same queries early and late, all new or repeated, 150 logs, at a rate of 0.1. More
    than 24 with an alarm would be seen less than once in 100 runs.
    """
    alarms = 0
    for seed in range(150):
        rounds = log(1_500, seed)
        if distinct is not None:
            rounds = repeated(rounds, distinct, seed)
        alarms += any(test.alarm for test in feature_shift(rounds, 0.1, seed=seed))
    assert alarms <= 24


def test_a_shift_of_one_question_feature_is_found_and_named() -> None:
    rounds = log()
    features = rounds.features.copy()
    rng = np.random.default_rng(1)
    features[:, -1] = rng.random(1_500) < np.where(np.arange(1_500) < 1_050, 0.2, 0.4)
    tests = feature_shift(dataclasses.replace(rounds, features=features))
    [named] = [test for test in tests if test.name == "asks_yes_no"]
    assert named.alarm
    assert named.finding == "its mean went from 0.183 to 0.380"


def test_a_shift_of_the_embedding_is_found_by_the_classifier() -> None:
    rounds = log(3_000)
    features = rounds.features.copy()
    late = np.arange(3_000) >= 2_100
    features[late, 1] = np.abs(features[late, 1])
    tests = feature_shift(dataclasses.replace(rounds, features=features))
    assert [test.name for test in tests if test.alarm] == ["all features"]
    assert tests[0].since == 2_100.0


def test_a_log_that_is_too_short_is_not_judged() -> None:
    assert feature_shift(log(MIN_SIDE)) == []


def test_a_rare_value_on_one_side_alone_is_no_proof() -> None:
    """Thirty of 2,000 queries: by chance none of them is late once in 40,000 logs of these, by a
    test that takes its errors from each side's own mean it would seem rarer by far.
    """
    values = np.zeros(2_000)
    values[:30] = 1.0
    late = np.arange(2_000) >= 1_400
    assert -4.0 < mean_difference_z(values, late, np.arange(2_000)) < -3.0


def test_a_value_too_rare_for_normal_tails_is_left_alone() -> None:
    values = np.zeros(2_000)
    values[-19:] = 1.0
    assert mean_difference_z(values, np.arange(2_000) >= 1_400, np.arange(2_000)) == 0.0


def test_repeated_queries_count_as_one() -> None:
    """Fifty copies of each of forty queries are no two thousand queries."""
    values = np.repeat(np.random.default_rng(2).normal(size=40), 50)
    late = np.repeat(np.arange(40) >= 28, 50)
    groups = np.repeat(np.arange(40), 50)
    alone = mean_difference_z(values, late, np.arange(2_000))
    assert abs(mean_difference_z(values, late, groups)) < abs(alone) / 5
