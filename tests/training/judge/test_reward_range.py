"""What a reward can be, under each kind of metric and weight."""

import dataclasses

import numpy as np
import pytest

from tests.training.worlds import rounds_of
from training.judge.reward_range import reward_range


def test_shares_lie_within_0_to_1_and_amounts_where_they_were_seen() -> None:
    rounds = rounds_of(50, np.random.default_rng(0))
    cost = np.linspace(0.2, 3.0, 50)
    cost[7] = np.nan
    both = dataclasses.replace(
        rounds,
        metrics=("quality", "cost_usd"),
        values=np.column_stack([np.full(50, 0.5), cost]),
        expected=np.full((50, 3, 2), np.nan),
    )
    assert reward_range(both, np.tile([1.0, 0.0], (50, 1))) == (0.0, 1.0)
    assert reward_range(both, np.tile([1.0, -0.1], (50, 1))) == pytest.approx((-0.3, 0.98))
    assert reward_range(both, np.tile([-1.0, 0.0], (50, 1))) == (-1.0, 0.0)


def test_a_metric_that_was_only_expected_ranges_over_its_expectations() -> None:
    rounds = rounds_of(50, np.random.default_rng(0))
    expected = np.full((50, 3, 2), np.nan)
    expected[:, :, 1] = [1.0, 2.0, 4.0]
    both = dataclasses.replace(
        rounds,
        metrics=("quality", "cost_usd"),
        values=np.column_stack([rounds.values[:, 0], np.full(50, np.nan)]),
        expected=expected,
    )
    assert reward_range(both, np.tile([1.0, -0.5], (50, 1))) == (-2.0, 1.0)
