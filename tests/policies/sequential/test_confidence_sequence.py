"""Confidence sequences: coverage at every time at once, and what must hold of any stream."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from policies.sequential.confidence_sequence import ConfidenceSequence, confidence_sequence

STREAMS, HORIZON = 500, 4_000


def stream(kind: str, seed: int) -> tuple[NDArray[Any], float, float, float]:
    """Parallel streams, their least and largest value, and their mean."""
    rng = np.random.default_rng(seed)
    shape = (STREAMS, HORIZON)
    if kind == "rare":
        return (rng.random(shape) < 0.05).astype(float), 0.0, 1.0, 0.05
    if kind == "weighted":  # a candidate's reward, weighted by a propensity of 1/30
        taken = rng.random(shape) < 1.0 / 30.0
        return 30.0 * taken * (rng.random(shape) < 0.4), 0.0, 30.0, 0.4
    # A paired advantage of nothing: mostly small, now and then ±30.
    return (
        rng.choice([-30.0, 0.0, 0.02, 30.0], shape, p=[0.01, 0.49, 0.49, 0.01]),
        -30.0,
        30.0,
        (0.49 * 0.02),
    )


@pytest.mark.parametrize("kind", ["rare", "weighted", "advantage"])
def test_the_mean_is_rarely_ever_outside(kind: str) -> None:
    """Null: at most 5 % of streams leave it out at any of 4,000 times; more than 43 of 500 would
    be seen once in 1,000 runs.
    """
    values, low, high, mean = stream(kind, 0)
    bounds = confidence_sequence(values, low, high, alpha=0.05)
    missed = ((bounds.lower > mean) | (bounds.upper < mean)).any(axis=1)
    assert missed.sum() <= 43


@pytest.mark.parametrize("kind", ["rare", "weighted", "advantage"])
def test_one_side_spends_all_of_alpha(kind: str) -> None:
    values, low, high, mean = stream(kind, 1)
    one = confidence_sequence(values, low, high, alpha=0.05, sides="lower")
    both = confidence_sequence(values, low, high, alpha=0.1)
    assert np.array_equal(one.lower, both.lower)
    assert np.isinf(one.upper).all()
    assert (one.lower > mean).any(axis=1).sum() <= 43


def test_a_mean_that_follows_the_past_is_covered_too() -> None:
    """Null: at most 5 % of streams whose chance doubles after a success, over the average chance;
    more than 43 of 500 would be seen once in 1,000 runs. The chances average to within 0.01.
    """
    rng = np.random.default_rng(2)
    values = np.zeros((STREAMS, HORIZON))
    chances = np.full((STREAMS, HORIZON), 0.2)
    for t in range(HORIZON):
        if t:
            chances[:, t] = np.where(values[:, t - 1] == 1.0, 0.4, 0.2)
        values[:, t] = rng.random(STREAMS) < chances[:, t]
    late = confidence_sequence(values, 0.0, 1.0)
    average = chances.cumsum(axis=1) / np.arange(1, HORIZON + 1)
    missed = (late.lower > average + 0.01) | (late.upper < average - 0.01)
    assert missed.any(axis=1).sum() <= 43


def test_it_narrows_nearly_as_fast_as_a_fixed_interval() -> None:
    values = (np.random.default_rng(3).random(10_000) < 0.3).astype(float)
    bounds = confidence_sequence(values, 0.0, 1.0)
    normal = 2 * 1.96 * math.sqrt(0.21 / 10_000)
    assert normal < bounds.upper[-1] - bounds.lower[-1] < 4 * normal


@given(st.lists(st.floats(-2.0, 5.0), min_size=1, max_size=60), st.integers(1, 10))
def test_batches_give_what_single_values_and_the_whole_give(values: list[float], size: int) -> None:
    whole = confidence_sequence(values, -2.0, 5.0)
    batched = ConfidenceSequence(-2.0, 5.0)
    for start in range(0, len(values), size):
        batched.update(values[start : start + size])
        seen = min(start + size, len(values)) - 1
        assert batched.count == seen + 1
        assert batched.lower == pytest.approx(whole.lower[seen], abs=1e-9)
        assert batched.upper == pytest.approx(whole.upper[seen], abs=1e-9)
    assert batched.mean == pytest.approx(np.mean(values))


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60))
def test_bounds_are_in_order_and_within_the_range(values: list[float]) -> None:
    bounds = confidence_sequence(values, 0.0, 1.0)
    assert (bounds.lower >= 0.0).all()
    assert (bounds.upper <= 1.0).all()
    mirrored = confidence_sequence([1.0 - value for value in values], 0.0, 1.0)
    assert np.allclose(mirrored.lower, 1.0 - bounds.upper)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), st.floats(-3, 3), st.floats(0.1, 9))
def test_bounds_follow_shift_and_scale(values: list[float], shift: float, scale: float) -> None:
    plain = confidence_sequence(values, 0.0, 1.0)
    moved = confidence_sequence(
        np.clip(np.array(values) * scale + shift, shift, shift + scale), shift, shift + scale
    )
    assert np.allclose(moved.lower, plain.lower * scale + shift, atol=1e-6)


def test_a_smaller_alpha_gives_wider_bounds() -> None:
    values = np.random.default_rng(4).random(500)
    wide = confidence_sequence(values, 0.0, 1.0, alpha=0.01)
    narrow = confidence_sequence(values, 0.0, 1.0, alpha=0.1)
    assert wide.lower[-1] < narrow.lower[-1] < values.mean() < narrow.upper[-1] < wide.upper[-1]


def test_before_the_first_value_the_whole_range_is_possible() -> None:
    sequence = ConfidenceSequence(-1.0, 1.0)
    assert (sequence.count, sequence.lower, sequence.upper) == (0, -1.0, 1.0)
    assert math.isnan(sequence.mean)
    sequence.update([])
    assert sequence.count == 0


def test_wrong_use_is_refused_with_the_cure() -> None:
    with pytest.raises(ValueError, match="state the range that values can have"):
        ConfidenceSequence(0.0, 1.0).update([0.5, 1.5])
    with pytest.raises(ValueError, match="out of the stated range"):
        confidence_sequence([math.nan], 0.0, 1.0)
    with pytest.raises(ValueError, match="low below high"):
        ConfidenceSequence(1.0, 1.0)
    with pytest.raises(ValueError, match="alpha must lie"):
        ConfidenceSequence(0.0, 1.0, alpha=0.0)
    with pytest.raises(ValueError, match="prior_mean must lie"):
        confidence_sequence([0.5], 0.0, 1.0, prior_mean=2.0)
