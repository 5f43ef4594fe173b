"""Alpha over successive looks."""

import dataclasses

import numpy as np
import pytest

from policies.exploration import GREEDY, Exploration
from tests.training.worlds import always, knowing, rounds_of
from training.judge.looks import ALPHA, alpha_of_look, look_of, normal_quantile


def test_the_first_look_is_a_95_percent_interval_s_lower_bound() -> None:
    assert alpha_of_look(1) == 0.025
    assert normal_quantile(alpha_of_look(1)) == pytest.approx(1.959964, abs=1e-6)


def test_all_looks_together_spend_no_more_than_alpha() -> None:
    levels = [alpha_of_look(look) for look in range(1, 10_001)]
    assert sum(levels) <= ALPHA
    assert sum(levels) == pytest.approx(ALPHA, rel=1e-3)
    assert levels == sorted(levels, reverse=True)
    with pytest.raises(ValueError, match="counted from 1"):
        alpha_of_look(0)


def test_the_same_candidate_on_the_same_log_is_the_same_look() -> None:
    rounds = rounds_of(100, np.random.default_rng(0))
    again = rounds_of(100, np.random.default_rng(0))
    assert look_of(rounds, knowing(), None, GREEDY) == look_of(again, knowing(), None, GREEDY)


def test_another_candidate_log_objective_or_exploration_is_another_look() -> None:
    rounds = rounds_of(100, np.random.default_rng(0))
    values = rounds.values.copy()
    values[3] = np.nan
    late = dataclasses.replace(rounds, values=values)
    looks = {
        look_of(rounds, knowing(), None, GREEDY),
        look_of(rounds, always(0), None, GREEDY),
        look_of(rounds.rows(np.arange(99)), knowing(), None, GREEDY),
        look_of(late, knowing(), None, GREEDY),
        look_of(rounds, knowing(), {"quality": 1.0}, GREEDY),
        look_of(rounds, knowing(), None, Exploration()),
    }
    assert len(looks) == 6
