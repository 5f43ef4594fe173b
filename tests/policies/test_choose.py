"""The draw: replayable, never of an arm without probability, and as likely as it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.choose import choose, uniform_draw
from policies.errors import ArmError

UNIFORM_OF_A_LOGGED_ID = 0.07795462933264508


def test_draws_are_as_likely_as_stated() -> None:
    """Null: draws follow the probabilities. χ²(2) > 18.4 has probability 1e-4; seeds are fixed."""
    probabilities = np.array([0.05, 0.25, 0.0, 0.7])
    draws = [choose(probabilities, f"0192-{number}") for number in range(20_000)]
    counts = np.bincount(draws, minlength=4)
    assert counts[2] == 0
    expected = 20_000 * probabilities[[0, 1, 3]]
    assert (((counts[[0, 1, 3]] - expected) ** 2) / expected).sum() < 18.4


def test_a_draw_is_fixed_for_all_time() -> None:
    """Logged decisions replay in later releases: these values may never change."""
    assert uniform_draw("01a20277-4606-70a3-b9d7-43de63432378") == pytest.approx(
        UNIFORM_OF_A_LOGGED_ID, abs=0
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8).filter(any), st.text(max_size=40))
def test_an_arm_without_probability_is_never_drawn(weights: list[float], identity: str) -> None:
    probabilities = np.array(weights) / sum(weights)
    assert probabilities[choose(probabilities, identity)] > 0.0


def test_nothing_to_draw_from_is_an_error() -> None:
    with pytest.raises(ArmError):
        choose(np.zeros(3), "any")
