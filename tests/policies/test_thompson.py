"""The probability of being best: against the exact value, against simulation, and at the edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policies.thompson import best_arm_probabilities, normal_cdf

ALL = np.ones((1, 3), dtype=np.bool_)


def test_two_arms_have_the_exact_probability() -> None:
    """Φ((u₁ − u₂) / √(s₁² + s₂²)), within the error of the approximated Φ and the quadrature."""
    means, deviations = np.array([[0.55, 0.5]]), np.array([[0.04, 0.03]])
    [probabilities] = best_arm_probabilities(means, deviations, np.ones((1, 2), dtype=np.bool_))
    exact = 0.5 * (1.0 + math.erf(1.0 / math.sqrt(2.0)))
    assert probabilities[0] == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_how_often_a_draw_of_all_posteriors_has_the_arm_on_top(seed: int) -> None:
    """400,000 simulated draws have a standard error below .0008; five of them are allowed."""
    rng = np.random.default_rng(seed)
    means, deviations = rng.normal(size=4), rng.uniform(0.3, 1.5, size=4)
    drawn = means + deviations * rng.normal(size=(400_000, 4))
    simulated = np.bincount(drawn.argmax(axis=1), minlength=4) / len(drawn)
    four = np.ones((1, 4), dtype=np.bool_)
    [probabilities] = best_arm_probabilities(means[None], deviations[None], four)
    np.testing.assert_allclose(probabilities, simulated, atol=0.004)


@given(
    arrays(np.float64, (4, 3), elements=st.floats(-1e6, 1e6)),
    arrays(np.float64, (4, 3), elements=st.floats(0, 1e6)),
    arrays(np.bool_, (4, 3)),
)
def test_rows_are_distributions_over_the_eligible_arms(
    means: np.ndarray, deviations: np.ndarray, eligible: np.ndarray
) -> None:
    eligible[:, 1] = True
    probabilities = best_arm_probabilities(means, deviations, eligible)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-9)
    assert (probabilities[~eligible] == 0.0).all()
    assert (probabilities >= 0.0).all()


def test_certainty_is_greedy_and_splits_equals() -> None:
    nothing = np.zeros((1, 3))
    [sure] = best_arm_probabilities(np.array([[0.2, 0.5, 0.1]]), nothing, ALL)
    np.testing.assert_allclose(sure, [0, 1, 0], atol=1e-12)
    [equal] = best_arm_probabilities(np.array([[0.5, 0.5, 0.1]]), nothing, ALL)
    np.testing.assert_allclose(equal, [0.5, 0.5, 0], atol=1e-12)


def test_a_row_without_worth_or_uncertainty_is_shared_evenly() -> None:
    [probabilities] = best_arm_probabilities(np.zeros((1, 3)), np.zeros((1, 3)), ALL)
    np.testing.assert_allclose(probabilities, 1 / 3)


def test_the_normal_distribution_function_is_right_to_2e_4() -> None:
    x = np.linspace(-6, 6, 1001)
    exact = np.array([0.5 * (1.0 + math.erf(value / math.sqrt(2.0))) for value in x])
    assert np.abs(normal_cdf(x) - exact).max() < 2e-4
