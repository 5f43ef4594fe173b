"""Exploration: floors, masks, and the shape of inverse gap weighting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policies.errors import ArmError, ExpectationError
from policies.exploration import (
    GREEDY,
    Exploration,
    arm_probabilities,
    until_first_promotion,
)
from policies.posterior import Beliefs

ALL = np.array([[True, True, True]])
GAPS = np.array([[0.5, 0.4, 0.1]])

explorations = st.builds(
    Exploration,
    kind=st.sampled_from(["squarecb", "thompson", "epsilon", "uniform", "greedy"]),
    floor=st.floats(0, 1),
    gamma=st.floats(1e-3, 1e6),
    epsilon=st.floats(0, 1),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 9)))
    # Some are equal: their shares are.
    worth = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.5, 0.25]))
    utilities = draw(arrays(np.float64, shape, elements=worth))
    eligible = draw(arrays(np.bool_, shape))
    eligible[:, draw(st.integers(0, shape[1] - 1))] = True
    return utilities, eligible


@given(cases(), explorations)
def test_whatever_the_settings_rows_are_distributions_with_masks_and_floors_kept(
    case: tuple[np.ndarray, np.ndarray], exploration: Exploration
) -> None:
    utilities, eligible = case
    beliefs = Beliefs(utilities[:, ::-1], np.abs(utilities))
    probabilities = arm_probabilities(utilities, eligible, exploration, beliefs)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-9)
    assert (probabilities[~eligible] == 0.0).all()
    assert (probabilities >= 0.0).all()
    lone = eligible.sum(axis=1) == 1
    assert (probabilities[lone].max(axis=1) == 1.0).all()
    if exploration.kind != "greedy":
        floor = np.minimum(exploration.floor, 1.0 / eligible.sum(axis=1, keepdims=True))
        if exploration.kind != "uniform":
            assert (probabilities >= np.where(eligible, floor, 0.0) - 1e-9).all()


@given(cases(), explorations)
def test_what_masked_arms_are_worth_changes_nothing(
    case: tuple[np.ndarray, np.ndarray], exploration: Exploration
) -> None:
    utilities, eligible = case
    changed = np.where(eligible, utilities, np.nan)
    np.testing.assert_array_equal(
        arm_probabilities(utilities, eligible, exploration, Beliefs(utilities, np.abs(utilities))),
        arm_probabilities(changed, eligible, exploration, Beliefs(changed, np.abs(changed))),
    )


@given(cases(), explorations)
def test_a_request_has_the_same_probabilities_alone_and_in_a_batch(
    case: tuple[np.ndarray, np.ndarray], exploration: Exploration
) -> None:
    utilities, eligible = case
    beliefs = Beliefs(utilities[:, ::-1], np.abs(utilities))
    together = arm_probabilities(utilities, eligible, exploration, beliefs)
    for row in range(len(utilities)):
        own = Beliefs(beliefs.means[[row]], beliefs.variances[[row]])
        alone = arm_probabilities(utilities[[row]], eligible[[row]], exploration, own)
        assert alone.tobytes() == together[[row]].tobytes()


def test_squarecb_follows_the_formula() -> None:
    exploration = Exploration(kind="squarecb", floor=0.0, gamma=10.0)
    [probabilities] = arm_probabilities(GAPS, ALL, exploration)
    second, third = 1 / (3 + 10 * 0.1), 1 / (3 + 10 * 0.4)
    np.testing.assert_allclose(probabilities, [1 - second - third, second, third])


def test_epsilon_greedy_spreads_epsilon_evenly() -> None:
    exploration = Exploration(kind="epsilon", epsilon=0.3, floor=0.0)
    [probabilities] = arm_probabilities(GAPS, ALL, exploration)
    np.testing.assert_allclose(probabilities, [0.8, 0.1, 0.1])


def test_epsilon_greedy_splits_its_greedy_share_between_equals() -> None:
    exploration = Exploration(kind="epsilon", epsilon=0.3, floor=0.0)
    [probabilities] = arm_probabilities(np.array([[0.7, 0.2, 0.7]]), ALL, exploration)
    np.testing.assert_allclose(probabilities, [0.45, 0.1, 0.45])


def test_thompson_draws_each_arm_as_likely_as_it_is_best() -> None:
    """Of two arms exactly Φ(gap / √(s₁² + s₂²)), here Φ(.1 / .1), the deviations scaled."""
    exploration = Exploration(kind="thompson", floor=0.0, posterior_scale=0.5)
    beliefs = Beliefs(np.array([[0.5, 0.4, 9.0]]), np.array([[0.02, 0.02, 9.0]]))
    two = np.array([[True, True, False]])
    [probabilities] = arm_probabilities(GAPS, two, exploration, beliefs)
    np.testing.assert_allclose(probabilities, [0.8413, 0.1587, 0.0], atol=1e-3)


def test_thompson_keeps_the_floor_of_an_arm_that_is_surely_worse() -> None:
    exploration = Exploration(kind="thompson", floor=0.05)
    beliefs = Beliefs(GAPS, np.full((1, 3), 1e-12))
    [probabilities] = arm_probabilities(GAPS, ALL, exploration, beliefs)
    np.testing.assert_allclose(probabilities, [0.9, 0.05, 0.05])


def test_thompson_without_beliefs_is_epsilon_greedy() -> None:
    thompson, epsilon = Exploration(kind="thompson"), Exploration(kind="epsilon")
    np.testing.assert_array_equal(
        arm_probabilities(GAPS, ALL, thompson), arm_probabilities(GAPS, ALL, epsilon)
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_beliefs_that_are_no_numbers_are_an_error(value: float) -> None:
    beliefs = Beliefs(GAPS, np.array([[0.1, value, 0.1]]))
    with pytest.raises(ExpectationError):
        arm_probabilities(GAPS, ALL, Exploration(kind="thompson"), beliefs)


def test_greedy_takes_the_best_and_the_first_of_equals() -> None:
    [probabilities] = arm_probabilities(np.array([[0.2, 0.7, 0.7]]), ALL, GREEDY)
    assert probabilities.tolist() == [0.0, 1.0, 0.0]


def test_a_cold_start_explores_with_its_initial_share() -> None:
    cold = until_first_promotion(Exploration(initial=0.3))
    [probabilities] = arm_probabilities(GAPS, ALL, cold)
    np.testing.assert_allclose(probabilities, [0.8, 0.1, 0.1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_utility_that_is_no_number_is_an_error_not_a_probability(value: float) -> None:
    with pytest.raises(ExpectationError):
        arm_probabilities(np.array([[0.5, value, 0.1]]), ALL, Exploration())


def test_no_eligible_arm_is_an_error() -> None:
    with pytest.raises(ArmError):
        arm_probabilities(GAPS, ~ALL, Exploration())


@pytest.mark.parametrize("kind", ["squarecb", "thompson", "epsilon"])
def test_until_the_first_promotion_every_kind_draws_uniformly_as_often_as_initial_says(
    kind: str,
) -> None:
    cold = until_first_promotion(Exploration(kind=kind, initial=0.3))  # type: ignore[arg-type]
    beliefs = Beliefs(GAPS, np.full((1, 3), 0.1))
    [probabilities] = arm_probabilities(GAPS, ALL, cold, beliefs)
    np.testing.assert_allclose(probabilities, [0.8, 0.1, 0.1])


@pytest.mark.parametrize(
    "wrong", [{"floor": -0.1}, {"epsilon": 1.1}, {"gamma": 0.0}, {"posterior_scale": 0.0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Exploration(**wrong)  # type: ignore[arg-type]
