"""From metrics to the number a policy is judged by."""

import dataclasses

import numpy as np
import pytest

from policies.errors import ObjectiveError
from tests.training.worlds import knowing, rounds_of, success_rates
from training.log.rounds import LoggedRounds
from training.reporting.shares import reporting_shares
from training.utility import judge_rounds, objective_weights, utilities_of


def two_metrics(n: int = 6) -> LoggedRounds:
    rounds = rounds_of(n, np.random.default_rng(0))
    return dataclasses.replace(
        rounds,
        metrics=("quality", "cost_usd"),
        values=np.column_stack([rounds.values[:, 0], np.full(n, 0.5)]),
        expected=np.full((n, 3, 2), np.nan),
        weights=np.tile([1.0, -2.0], (n, 1)),
    )


def test_each_round_has_its_own_objective_unless_one_is_given() -> None:
    rounds = two_metrics()
    np.testing.assert_array_equal(objective_weights(rounds, None), rounds.weights)
    np.testing.assert_array_equal(objective_weights(rounds, {"cost_usd": -1.0})[0], [0.0, -1.0])
    with pytest.raises(ObjectiveError, match="has no metric 'cost'"):
        objective_weights(rounds, {"cost": -1.0})


def test_the_reward_is_the_weighted_sum() -> None:
    rounds = two_metrics()
    judged = judge_rounds(rounds, rounds.weights, np.ones((6, 3, 2)))
    np.testing.assert_allclose(judged.reward, rounds.values[:, 0] - 1.0)
    np.testing.assert_allclose(judged.predicted, -1.0)
    np.testing.assert_allclose(judged.pscore, rounds.pscore)


def test_a_round_that_lacks_a_weighted_metric_is_unknown_and_the_others_weigh_more() -> None:
    rounds = two_metrics(300)
    values = rounds.values.copy()
    values[:150, 1] = np.nan
    rounds = dataclasses.replace(rounds, values=values)
    judged = judge_rounds(rounds, rounds.weights, np.zeros((300, 3, 2)))
    assert np.isinf(judged.pscore[:150]).all()
    shares = reporting_shares(rounds, judged.known)
    np.testing.assert_allclose(judged.pscore[150:], shares[150:] / 3)
    only_quality = objective_weights(rounds, {"quality": 1.0})
    assert judge_rounds(rounds, only_quality, np.zeros((300, 3, 2))).known.all()


def test_tenants_that_report_differently_weigh_what_they_report_differently() -> None:
    rounds = two_metrics(3000)
    tenants = np.array(["often", "rarely"] * 1500, dtype=object)
    rounds = dataclasses.replace(rounds, tenants=tenants)
    known = (tenants == "often") | (np.arange(3000) % 8 == 1)
    shares = reporting_shares(rounds, known)
    np.testing.assert_allclose(shares[tenants == "often"], 1.0)
    assert abs(shares[tenants == "rarely"].mean() - 0.25) < 0.01


def test_a_metric_nobody_reported_counts_as_what_was_expected_of_it() -> None:
    rounds = two_metrics()
    expected = np.full((6, 3, 2), np.nan)
    expected[:, :, 1] = [0.1, 0.2, 0.3]
    unseen = np.column_stack([rounds.values[:, 0], np.full(6, np.nan)])
    rounds = dataclasses.replace(rounds, values=unseen, expected=expected)
    judged = judge_rounds(rounds, rounds.weights, np.ones((6, 3, 2)))
    cost = np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(judged.reward, rounds.values[:, 0] - 2 * cost[rounds.action])
    np.testing.assert_allclose(judged.predicted, np.tile(1.0 - 2 * cost, (6, 1)))


def test_a_policys_arms_are_put_into_the_logs_order() -> None:
    rounds = rounds_of(5, np.random.default_rng(0))
    turned = dataclasses.replace(rounds, arms=("multi", "none", "single"))
    expected = knowing().expected(turned.features)
    ours = utilities_of(expected, knowing(), turned, rounds.weights)
    np.testing.assert_allclose(ours, success_rates(rounds.features)[:, [2, 0, 1]], atol=1e-6)
