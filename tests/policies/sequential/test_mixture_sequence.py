"""The confidence sequence of values whose ranges differ."""

import math

import msgspec
import numpy as np
import pytest

from policies.sequential.mixture_sequence import MixtureSequence, SequenceState


def test_each_bound_ever_fails_at_most_alpha_of_the_time() -> None:
    """Null: the mean is outside at some look, of looks after every 25th of 300 values, with
    probability 10 %. With 120 streams, more than 23 misses (the 99.9 % point) refute it.
    """
    misses = {"lower": 0, "upper": 0}
    for seed in range(120):
        draws = np.random.default_rng(seed)
        room = draws.choice([1.0, 2.0, 10.0], 300, p=[0.6, 0.3, 0.1])
        means = 0.05 * draws.choice([-1.0, 3.0], 300) * room / 10.0
        predictions = means + draws.uniform(-0.05, 0.05, 300)
        below, above = 0.2 * room, room
        high = draws.random(300) < (means - predictions + below) / (above + below)
        values = predictions + np.where(high, above, -below)
        sequence = MixtureSequence(0.1)
        missed = set()
        for i in range(300):
            sequence.update(values[i], predictions[i], below[i], above[i])
            if i % 25 == 24:
                truth = float(means[: i + 1].mean())
                missed |= {"lower"} if sequence.lower > truth else set()
                missed |= {"upper"} if sequence.upper < truth else set()
        for side in missed:
            misses[side] += 1
    assert misses["lower"] <= 23
    assert misses["upper"] <= 23


def test_it_closes_in_on_the_mean() -> None:
    """After 20,000 fair coins both bounds are within 0.02 of a half."""
    draws = np.random.default_rng(0)
    sequence = MixtureSequence(0.05)
    for value in (draws.random(20_000) < 0.5).astype(float).tolist():
        sequence.update(value, 0.5, 0.5, 0.5)
    assert 0.48 < sequence.lower < 0.5 < sequence.upper < 0.52
    assert sequence.mean == pytest.approx(0.5, abs=0.01)


def test_nothing_is_said_before_the_first_value_nor_without_a_range() -> None:
    sequence = MixtureSequence(0.05)
    assert (sequence.lower, sequence.upper) == (-math.inf, math.inf)
    assert math.isnan(sequence.mean)
    sequence.update(0.0, 0.0, math.inf, 1.0)
    assert sequence.lower == -math.inf
    assert sequence.upper < math.inf


def test_values_that_could_not_differ_from_their_predictions_leave_only_the_first_bets_price() -> (
    None
):
    """Equal policies: the bounds close at the rate of 1/t."""
    sequence = MixtureSequence(0.05)
    for _ in range(1_000):
        sequence.update(0.0, 0.0, 0.0, 0.0)
    assert 0.0 < sequence.upper < 0.02
    assert sequence.lower == pytest.approx(-sequence.upper)


def test_a_state_goes_on_where_it_was_left() -> None:
    """Also through a store that keeps bytes."""
    draws = np.random.default_rng(1)
    values = draws.random(60).tolist()
    whole, first = MixtureSequence(0.05), MixtureSequence(0.05)
    for number, value in enumerate(values):
        whole.update(value, 0.5, 0.5, 30.0 if number == 20 else 0.5)
        if number < 30:
            first.update(value, 0.5, 0.5, 30.0 if number == 20 else 0.5)
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(first.state), type=SequenceState)
    second = MixtureSequence(0.05, kept)
    for value in values[30:]:
        second.update(value, 0.5, 0.5, 0.5)
    assert (second.lower, second.upper) == (whole.lower, whole.upper)


def test_what_could_not_be_is_refused() -> None:
    sequence = MixtureSequence(0.05)
    with pytest.raises(ValueError, match="out of its stated range"):
        sequence.update(1.0, 0.0, 1.0, 0.5)
    with pytest.raises(ValueError, match="out of its stated range"):
        sequence.update(math.nan, 0.0, 1.0, 0.5)
    with pytest.raises(ValueError, match="alpha"):
        MixtureSequence(0.0)
