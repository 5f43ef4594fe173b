"""What is drawn with while a candidate is in shadow or canary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policies.exploration import Exploration, arm_probabilities
from router.deciding.candidate_draws import draws_with_candidate, mixture

FLOATS = st.floats(-5.0, 5.0, allow_nan=False)


@st.composite
def two_policies(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The probabilities of two policies on the same masks; (n, A) each."""
    n, arms = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    mask = draw(arrays(bool, (n, arms)))
    mask[np.arange(n), draw(arrays(np.intp, n, elements=st.integers(0, arms - 1)))] = True
    sides = []
    for _ in range(2):
        kind = draw(st.sampled_from(["squarecb", "epsilon", "uniform", "greedy"]))
        utilities = draw(arrays(np.float64, (n, arms), elements=FLOATS))
        sides.append(arm_probabilities(utilities, mask, Exploration(kind=kind)))
    return mask, sides[0], sides[1]


@given(two_policies(), st.floats(1e-4, 1.0 - 1e-4))
def test_a_mixture_is_a_distribution_over_the_eligible_arms(
    policies: tuple[np.ndarray, np.ndarray, np.ndarray], share: float
) -> None:
    """It sums to 1, masked arms have exactly 0, a lone arm exactly 1, and it is the mixture."""
    mask, incumbent, candidate = policies
    mixed = mixture(incumbent, candidate, share)
    assert mixed.sum(axis=1) == pytest.approx(1.0, abs=1e-12)
    assert (mixed[~mask] == 0.0).all()
    assert (mixed >= 0.0).all()
    assert (mixed[mask.sum(axis=1) == 1].max(axis=1, initial=1.0) == 1.0).all()
    expected = (1.0 - share) * incumbent + share * candidate
    np.testing.assert_allclose(mixed, expected, atol=1e-12)


@given(two_policies())
def test_a_shadow_changes_nothing(policies: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """The probabilities are the incumbent's to the last bit."""
    _, incumbent, candidate = policies
    draws = draws_with_candidate(incumbent, candidate, np.ones(len(incumbent), bool), "v", 0.0)
    assert draws.probabilities.tobytes() == incumbent.tobytes()
    assert draws.reasons(0) == []


def test_a_request_in_which_the_candidate_has_no_part_is_the_incumbents() -> None:
    """Beside another that is mixed."""
    incumbent = np.array([[1.0, 0.0], [1.0, 0.0]])
    candidate = np.array([[0.0, 1.0], [0.0, 1.0]])
    draws = draws_with_candidate(incumbent, candidate, np.array([False, True]), "v", 0.25)
    assert draws.probabilities.tolist() == [[1.0, 0.0], [0.75, 0.25]]
    assert draws.reasons(0) == []
    assert "canary: candidate v has a share of 0.25" in draws.reasons(1)[0]
