"""Decisions by Thompson sampling: logged propensities are those that the posterior gives."""

import numpy as np
import pytest

from policies.artifact import Manifest
from policies.choose import choose
from policies.encoders import Encoder
from policies.exploration import Exploration, arm_probabilities
from policies.features import Featurizer
from policies.linear_policy import IDENTITY, LinearPolicy
from policies.posterior import Posterior, PosteriorTensors, utility_beliefs
from router.api.schemas import RouteRequest
from router.deciding.decider import Decider
from router.serving_policy import ServingPolicy, fit_to_service
from router.settings import Settings

METRICS = ["quality", "cost_usd"]
# The policy's own order of arms, not the service's.
ARMS = ["hybrid", "finetuned", "retrieve"]


@pytest.fixture
def decider(encoder: Encoder) -> Decider:
    return Decider(Settings(), Featurizer(encoder))


@pytest.fixture
def policy(decider: Decider) -> LinearPolicy:
    """A policy that is unsure of its arms, each in another measure."""
    dimension = decider.featurizer.dimension
    coefficients = np.random.default_rng(0).normal(size=(3, 2, dimension)).astype(np.float32)
    intercepts = np.array([[0.6, 0.002], [0.5, 0.0], [0.55, 0.001]])
    parts = PosteriorTensors(
        coefficients=0.1 * coefficients,
        intercepts=intercepts,
        scale=np.ones(dimension, dtype=np.float32),
        centres=np.zeros((3, dimension), dtype=np.float32),
        directions=np.eye(2, dimension, dtype=np.float32)[None].repeat(3, axis=0),
        gains=np.full((3, 2, 2), 1e-3),
        remainder=np.full((3, 2), 2e-3),
        rows=np.array([[20.0, 20.0], [100.0, 100.0], [500.0, 500.0]]),
        noise=np.tile([0.2, 1e-6], (3, 1)),
    )
    manifest = Manifest(
        kind="linear",
        name="unsure",
        arms=ARMS,
        metrics=METRICS,
        feature_version=decider.featurizer.version,
        created_at="",
    )
    links = np.full(2, IDENTITY, dtype=np.int8)
    return LinearPolicy(
        manifest, 0.1 * coefficients, intercepts, links, carried=Posterior(parts).tensors
    )


def serving(
    decider: Decider, policy: LinearPolicy, *, promoted: bool = True, floor: float = 0.05
) -> ServingPolicy:
    featurizer = decider.featurizer
    return fit_to_service(
        policy,
        decider.arms,
        featurizer.version,
        featurizer.dimension,
        Exploration(kind="thompson", floor=floor),
        promoted=promoted,
    )


def test_each_request_is_drawn_by_what_is_believed_under_its_own_objective_and_mask(
    decider: Decider, policy: LinearPolicy
) -> None:
    weights = [{"quality": 1.0}, {"quality": 1.0, "cost_usd": -40.0}, {"quality": 1.0}]
    requests = [
        RouteRequest(query="Who wrote Dune?", objective=weights[0]),
        RouteRequest(query="Who wrote Dune?", objective=weights[1]),
        RouteRequest(query="Who wrote Dune?", objective=weights[2], arms=["retrieve", "hybrid"]),
    ]
    decisions = decider.decide(requests, serving(decider, policy))
    beliefs = policy.beliefs(decider.featurizer.features(["Who wrote Dune?"]))
    for decision, objective in zip(decisions, weights, strict=True):
        event = decision.event
        vector = np.array([objective.get(metric, 0.0) for metric in METRICS])
        utility = utility_beliefs(beliefs, vector)
        assert utility is not None
        eligible = np.array([[arm in event.eligible for arm in ARMS]])
        exploration = Exploration(kind="thompson")
        [wanted] = arm_probabilities(utility.means, eligible, exploration, utility)
        logged = dict(zip(event.arms, event.probabilities, strict=True))
        np.testing.assert_allclose([logged[arm] for arm in ARMS], wanted, atol=1e-5)
        assert event.propensity == logged[event.arm]
        drawn = choose(np.array(event.probabilities), event.decision_id)
        assert event.arms[drawn] == event.arm
        assert all(logged[arm] >= 0.05 for arm in event.eligible)
    first, cheaper, _ = (decision.event.probabilities for decision in decisions)
    assert first != cheaper


def test_drawn_arms_are_as_frequent_as_their_logged_propensities_say(
    decider: Decider, policy: LinearPolicy
) -> None:
    """Null: draws follow the log. Of 4,000 draws no arm is off by four standard errors (3 arms, an
    error rate of about 2e-4; ids are fresh, so are the draws).
    """
    request = RouteRequest(query="Who wrote Dune?", objective={"quality": 1.0})
    decisions = decider.decide([request] * 4000, serving(decider, policy))
    probabilities = np.array(decisions[0].event.probabilities)
    arms = decisions[0].event.arms
    taken = np.array([[d.event.arm == arm for arm in arms] for d in decisions]).mean(axis=0)
    assert (np.abs(taken - probabilities) < 4.0 * np.sqrt(probabilities * 0.25 / 1000)).all()


def test_until_the_first_promotion_it_explores_as_a_cold_start(
    decider: Decider, policy: LinearPolicy
) -> None:
    request = RouteRequest(query="Who wrote Dune?")
    [decision] = decider.decide([request], serving(decider, policy, promoted=False))
    np.testing.assert_allclose(sorted(decision.event.probabilities), [0.1, 0.1, 0.8])


def test_a_request_that_wants_no_exploration_gets_the_best_expected_arm(
    decider: Decider, policy: LinearPolicy
) -> None:
    request = RouteRequest(query="Who wrote Dune?", objective={"quality": 1.0}, explore=False)
    [decision] = decider.decide([request], serving(decider, policy))
    assert decision.event.propensity == 1.0
    best = max(decision.response.arms, key=lambda arm: arm.utility)
    assert decision.event.arm == best.arm
