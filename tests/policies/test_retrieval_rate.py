"""The share of decisions that retrieve, as a metric of each arm."""

import numpy as np
import pytest

from policies.arms import DEFAULT_ARMS
from policies.errors import ArmError
from policies.retrieval_rate import RETRIEVAL_RATE, retrieving_arms, with_retrieval_rate

TABLE = ("none", "single", "multi")


def test_it_stands_beside_what_the_policy_expects() -> None:
    expected, metrics = with_retrieval_rate(np.full((2, 3, 1), 0.5), ("quality",), [0, 1, 1])
    assert metrics == ("quality", RETRIEVAL_RATE)
    assert expected[:, :, 1].tolist() == [[0.0, 1.0, 1.0]] * 2
    assert (expected[:, :, 0] == 0.5).all()


def test_what_a_policy_learned_of_it_gives_way_to_the_arms_routes() -> None:
    expected, metrics = with_retrieval_rate(
        np.full((1, 2, 2), 0.25), (RETRIEVAL_RATE, "quality"), [True, False]
    )
    assert metrics == ("quality", RETRIEVAL_RATE)
    assert expected.tolist() == [[[0.25, 1.0], [0.25, 0.0]]]


def test_configured_arms_retrieve_by_route_and_others_by_steps() -> None:
    assert retrieving_arms(("finetuned", "hybrid"), DEFAULT_ARMS) == [False, True]
    steps = np.array([0.0, 1.0, 3.35])
    assert retrieving_arms(TABLE, DEFAULT_ARMS, steps=steps) == [False, True, True]


def test_the_callers_own_list_decides() -> None:
    steps = np.array([0.0, 1.0, 3.35])
    assert retrieving_arms(TABLE, DEFAULT_ARMS, named=["multi"], steps=steps) == [
        False, False, True
    ]  # fmt: skip


def test_an_arm_of_which_nothing_says_so_is_an_error_with_the_cure() -> None:
    with pytest.raises(ArmError, match="--retrieving"):
        retrieving_arms(TABLE, DEFAULT_ARMS)
    with pytest.raises(ArmError, match="did you mean 'multi'"):
        retrieving_arms(TABLE, DEFAULT_ARMS, named=["mutli"])
