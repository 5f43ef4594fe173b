"""Slices: which there are, clusters within them, and Holm's correction."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.exploration import GREEDY
from tests.training.worlds import always, rounds_of
from training.judge.conditions import advantage_by_round
from training.judge.judged_policy import put_on_rounds
from training.judge.slices import Slice, holm, slices_of
from training.log.rounds import LoggedRounds


def sliced(rounds: LoggedRounds, trained: Any = None) -> dict[str, Slice]:
    on = put_on_rounds(always(2), rounds, rounds.weights, GREEDY)
    trained = np.zeros(len(rounds), dtype=bool) if trained is None else trained
    return {piece.named: piece for piece in slices_of(advantage_by_round(on), rounds, trained)}


def with_attributes(rounds: LoggedRounds, **values: list[object]) -> LoggedRounds:
    rows = np.empty(len(rounds), dtype=object)
    for row in range(len(rounds)):
        rows[row] = {name: column[row % len(column)] for name, column in values.items()}
    return dataclasses.replace(rounds, attributes=rows)


def test_slices_are_by_tenant_and_by_every_logged_attribute() -> None:
    rounds = rounds_of(2_000, np.random.default_rng(0), tenants=("a", "b"))
    found = sliced(with_attributes(rounds, dataset=["nq", "squad"], beta=[True], k=[1, 2, 3, 4]))
    assert set(found) == {
        "tenant a", "tenant b", "dataset nq", "dataset squad", "beta True", "k 1", "k 2", "k 3",
        "k 4",
    }  # fmt: skip
    assert found["dataset nq"].rows == 1_000


def test_a_slice_with_too_few_reported_rounds_is_left_out() -> None:
    rounds = rounds_of(400, np.random.default_rng(0))
    names = ["rare"] * 99 + ["common"] * 301
    assert set(sliced(with_attributes(rounds, dataset=list(names)))) == {
        "tenant (none)",
        "dataset common",
    }


def test_an_attribute_that_a_round_lacks_puts_it_in_no_slice() -> None:
    rounds = rounds_of(600, np.random.default_rng(0))
    found = sliced(with_attributes(rounds, dataset=["nq", None]))
    assert found["dataset nq"].rows == 300
    assert set(found) == {"tenant (none)", "dataset nq"}


def test_trained_queries_and_new_ones_are_slices() -> None:
    rounds = rounds_of(600, np.random.default_rng(0))
    found = sliced(rounds, np.arange(600) % 3 == 0)
    assert (found["queries new"].rows, found["queries trained on"].rows) == (400, 200)


def test_a_slice_counts_repeated_queries_once() -> None:
    """150 rounds that come nine times over say what 150 say, in every slice."""
    once = rounds_of(150, np.random.default_rng(1))
    often = once.rows(np.tile(np.arange(150), 9))
    apart = dataclasses.replace(often, groups=np.arange(len(often)))
    [error, repeated, wrong] = [
        sliced(rounds)["tenant (none)"].advantage.standard_error or 0.0
        for rounds in (once, often, apart)
    ]
    assert repeated == pytest.approx(error, rel=0.15)
    assert wrong < 0.5 * error


def test_only_significant_slices_are_worse_or_better() -> None:
    n = 4_000
    rates = np.tile([0.5, 0.5, 0.5], (n, 1))
    rates[::4] = [0.8, 0.5, 0.2]
    rates[1::4] = [0.2, 0.5, 0.8]
    rounds = rounds_of(n, np.random.default_rng(2), rates=rates, tenants=("bad", "good", "x", "y"))
    found = sliced(rounds)
    assert [name for name, piece in found.items() if piece.worse] == ["tenant bad"]
    assert [name for name, piece in found.items() if piece.better_p <= 0.05] == ["tenant good"]


def test_holm_s_example() -> None:
    """From Holm (1979): sorted, times 4, 3, 2, 1, never decreasing, at most 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0.0, 1.0), max_size=12))
def test_corrected_p_values_lie_between_the_plain_and_bonferronis(p_values: list[float]) -> None:
    for plain, corrected in zip(p_values, holm(p_values), strict=True):
        assert plain <= corrected <= min(1.0, plain * len(p_values)) + 1e-12
