"""Objectives by name and by weight."""

import math

import pytest

from policies.errors import ObjectiveError
from policies.objective import DEFAULT_OBJECTIVES, known_metrics, resolve_objective

METRICS = known_metrics(DEFAULT_OBJECTIVES, ["steps"])


def test_without_a_wish_the_default_applies() -> None:
    objective = resolve_objective(None, DEFAULT_OBJECTIVES, METRICS)
    assert (objective.name, objective.weights) == ("balanced", DEFAULT_OBJECTIVES["balanced"])


def test_weights_are_taken_as_they_are() -> None:
    objective = resolve_objective({"quality": 1.0, "steps": -0.02}, DEFAULT_OBJECTIVES, METRICS)
    assert (objective.name, objective.weights) == ("custom", {"quality": 1.0, "steps": -0.02})


@pytest.mark.parametrize(
    ("wanted", "field", "message"),
    [
        ("chep", "objective", "did you mean 'cheap'"),
        ({"quallity": 1.0}, "objective.quallity", "did you mean 'quality'"),
        ({"quality": math.inf}, "objective.quality", "finite"),
        ({"quality": math.nan}, "objective.quality", "finite"),
        ({"quality": 0.0}, "objective", "other than zero"),
        ({}, "objective", "other than zero"),
    ],
)
def test_a_wrong_wish_names_its_field_and_the_cure(
    wanted: object, field: str, message: str
) -> None:
    with pytest.raises(ObjectiveError, match=message) as caught:
        resolve_objective(wanted, DEFAULT_OBJECTIVES, METRICS)  # type: ignore[arg-type]
    assert caught.value.field == field
