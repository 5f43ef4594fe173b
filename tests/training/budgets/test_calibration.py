"""The least weight that keeps a budget, on worlds whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from policies.artifact import Manifest
from policies.budget import Limit
from policies.errors import ObjectiveError
from policies.exploration import GREEDY, Exploration
from policies.linear_policy import IDENTITY, LinearPolicy
from policies.retrieval_rate import RETRIEVAL_RATE
from tests.training.worlds import ARMS, DIMENSION, features_of, prefer, rounds_of
from training.budgets.calibration import calibrate, refusal, remarks_on
from training.budgets.recent_queries import Asked, queries_of_rounds
from training.log.rounds import LoggedRounds

COSTS = np.array([0.0, 1.0, 3.0])
QUALITY = {"quality": 1.0}


def policy_of(
    expected_costs: np.ndarray,
    lean: float = 0.4,
    qualities: tuple[float, float, float] = (0.5, 0.5, 0.5),
) -> LinearPolicy:
    """It knows that the first column decides between the arms, and expects these costs."""
    coefficients = np.zeros((3, 2, DIMENSION), dtype=np.float32)
    coefficients[0, 0, 0], coefficients[2, 0, 0] = -lean, lean
    intercepts = np.column_stack([qualities, expected_costs])
    manifest = Manifest(
        kind="linear",
        name="test",
        arms=list(ARMS),
        metrics=["quality", "steps"],
        feature_version="test-1",
        created_at="",
    )
    return LinearPolicy(manifest, coefficients, intercepts, np.full(2, IDENTITY, dtype=np.int8))


def log_of(n: int, seed: int, epsilon: float = 1.0, noise: float = 0.2) -> LoggedRounds:
    """Rounds of that world in which the arms' real costs were measured, with noise."""
    rng = np.random.default_rng(seed)
    rounds = rounds_of(n, rng, probabilities=prefer(1, n, epsilon))
    measured = COSTS[rounds.action] * rng.lognormal(-(noise**2) / 2, noise, size=n)
    return replace(
        rounds,
        metrics=("quality", "steps"),
        values=np.column_stack([rounds.values, measured]),
        expected=np.full((n, 3, 2), np.nan),
        weights=np.tile([1.0, 0.0], (n, 1)),
    )


def true_spend(
    policy: LinearPolicy, weights: dict[str, float], exploration: Exploration, seed: int
) -> float:
    """What the policy really spends on 50,000 queries that it has never met."""
    from policies.exploration import arm_probabilities
    from policies.policy import utilities

    expected = policy.expected(features_of(50_000, np.random.default_rng(seed)))
    liked = utilities(expected, policy.metrics, weights)
    row = arm_probabilities(liked, np.ones(liked.shape, dtype=np.bool_), exploration)
    return float((row @ COSTS).mean())


@pytest.mark.parametrize("exploration", [GREEDY, Exploration()])
@pytest.mark.parametrize("at_most", [1.2, 0.9, 0.7])
def test_the_budget_is_met_within_2_percent_and_not_undercut(
    at_most: float, exploration: Exploration
) -> None:
    """On the recent queries by the estimate, and in truth within four standard errors of it."""
    policy, limit = policy_of(COSTS), Limit("steps", at_most)
    asked = Asked(policy, QUALITY, "steps", [])
    recent = queries_of_rounds(asked, log_of(4_000, 0), exploration, 0)
    found = calibrate(asked, recent, limit, exploration)
    assert found.met
    assert found.binding
    assert 0.98 * at_most <= found.spend.value <= at_most
    truth = true_spend(policy, found.objective, exploration, 1)
    assert truth == pytest.approx(at_most, abs=4.0 * (found.spend.standard_error or 0.0))
    assert found.objective == {"quality": 1.0, "steps": -found.weight}


def test_no_smaller_weight_meets_it() -> None:
    policy, limit = policy_of(COSTS), Limit("steps", 0.9)
    asked = Asked(policy, QUALITY, "steps", [])
    recent = queries_of_rounds(asked, log_of(2_000, 2), GREEDY, 0)
    weight = calibrate(asked, recent, limit, GREEDY).weight
    for smaller in np.linspace(0.0, 0.999 * weight, 25):
        rows = recent.queries.probabilities(float(smaller), GREEDY)
        assert (rows * recent.prices).sum(axis=1).mean() > 0.9


@pytest.mark.parametrize("epsilon", [1.0, 0.3])
def test_a_policy_that_expects_the_wrong_costs_meets_the_budget_all_the_same(
    epsilon: float,
) -> None:
    """It expects half of what the costliest arm costs: by its own lights it would overspend."""
    policy = policy_of(np.array([0.0, 1.0, 1.5]))
    asked = Asked(policy, QUALITY, "steps", [])
    recent = queries_of_rounds(asked, log_of(4_000, 3, epsilon), GREEDY, 0)
    found = calibrate(asked, recent, Limit("steps", 0.9), GREEDY)
    assert "doubly robust" in found.basis
    truth = true_spend(policy, found.objective, GREEDY, 4)
    assert truth == pytest.approx(0.9, abs=4.0 * (found.spend.standard_error or 0.0))
    naive = recent._replace(prices=recent.queries.costs)
    weights = calibrate(asked, naive, Limit("steps", 0.9), GREEDY).objective
    assert true_spend(policy, weights, GREEDY, 4) > 1.15 * 0.9


def test_a_metric_that_was_never_measured_is_taken_as_expected_and_said_so() -> None:
    policy = policy_of(COSTS)
    asked = Asked(policy, QUALITY, "steps", [])
    rounds = rounds_of(500, np.random.default_rng(5))
    found = calibrate(
        asked, queries_of_rounds(asked, rounds, GREEDY, 0), Limit("steps", 0.9), GREEDY
    )
    assert found.basis.startswith("what the policy expects")
    assert true_spend(policy, found.objective, GREEDY, 6) == pytest.approx(0.9, rel=0.1)


def test_masked_arms_stay_masked() -> None:
    rounds = log_of(2_000, 7)
    eligible = rounds.eligible.copy()
    eligible[::2, 0] = False
    probabilities = np.where(eligible, 1.0, 0.0) / eligible.sum(axis=1, keepdims=True)
    action = np.where(eligible[np.arange(2_000), rounds.action], rounds.action, 1)
    values = rounds.values.copy()
    values[:, 1] = COSTS[action]
    rounds = replace(
        rounds,
        eligible=eligible,
        probabilities=probabilities,
        action=action,
        pscore=probabilities[np.arange(2_000), action],
        values=values,
    )
    asked = Asked(policy_of(COSTS), QUALITY, "steps", [])
    recent = queries_of_rounds(asked, rounds, GREEDY, 0)
    found = calibrate(asked, recent, Limit("steps", 0.4), GREEDY)
    assert not found.met
    assert found.least.value == pytest.approx(0.5, abs=0.03)
    assert "raise the budget" in refusal(found)


def test_a_budget_that_is_kept_anyway_needs_no_weight() -> None:
    asked = Asked(policy_of(COSTS), QUALITY, "steps", [])
    recent = queries_of_rounds(asked, log_of(500, 8), GREEDY, 0)
    found = calibrate(asked, recent, Limit("steps", 2.9), GREEDY)
    assert (found.weight, found.met, found.binding) == (0.0, True, False)
    assert found.quality_lost is not None
    assert found.quality_lost.value == 0.0
    assert any("isn't binding" in line for line in remarks_on(found))


def test_queries_that_all_change_at_one_weight_are_said_to() -> None:
    """A policy that doesn't read the query changes all of them at once."""
    policy = policy_of(COSTS, lean=0.0, qualities=(0.3, 0.5, 0.6))
    asked = Asked(policy, QUALITY, "steps", [])
    recent = queries_of_rounds(asked, log_of(1_000, 9), GREEDY, 0)
    found = calibrate(asked, recent, Limit("steps", 2.0), GREEDY)
    assert found.met
    assert found.tie is not None
    assert found.tie.below == pytest.approx(3.0, abs=0.1)
    assert found.tie.above == found.spend.value == pytest.approx(1.0, abs=0.1)
    assert found.weight == pytest.approx(0.05, rel=1e-4)


def test_the_retrieval_rate_is_met_by_the_arms_that_retrieve() -> None:
    asked = Asked(policy_of(COSTS), QUALITY, RETRIEVAL_RATE, [False, True, True])
    recent = queries_of_rounds(asked, log_of(3_000, 10), GREEDY, 0)
    found = calibrate(asked, recent, Limit(RETRIEVAL_RATE, 0.4), GREEDY)
    assert found.share["single"] + found.share["multi"] == pytest.approx(0.4, abs=0.001)
    assert found.spend.value == pytest.approx(0.4, abs=0.001)
    assert RETRIEVAL_RATE in found.objective


def test_the_quality_lost_is_that_of_the_world() -> None:
    """Within four standard errors of the truth: quality moves from one arm to another by 0.4·x."""
    policy = policy_of(COSTS)
    asked = Asked(policy, QUALITY, "steps", [])
    recent = queries_of_rounds(asked, log_of(4_000, 11), GREEDY, 0)
    found = calibrate(asked, recent, Limit("steps", 0.9), GREEDY)
    assert found.quality_lost is not None
    assert found.quality_lost.standard_error is not None
    free, held = (recent.queries.probabilities(weight, GREEDY) for weight in (0.0, found.weight))
    # In `rounds_of` the first arm gains with the column by which this policy likes the last.
    true_quality = 0.5 - (recent.queries.utilities - 0.5)
    truth = float(((free - held) * true_quality).sum(axis=1).mean())
    assert abs(found.quality_lost.value - truth) <= 4.0 * found.quality_lost.standard_error


def test_a_metric_that_the_policy_does_not_expect_is_an_error_that_names_its_metrics() -> None:
    asked = Asked(policy_of(COSTS), QUALITY, "step", [])
    with pytest.raises(ObjectiveError, match="did you mean 'steps'") as caught:
        queries_of_rounds(asked, log_of(100, 12), GREEDY, 0)
    assert caught.value.field == "budget"
