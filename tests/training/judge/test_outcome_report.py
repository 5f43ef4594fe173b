"""What a policy is worth on full-information rows, against figures worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from policies.errors import PolicyFitError
from tests.training.worlds import ARMS, always, outcome_rows, write_rows
from training.errors import InputError
from training.judge.outcome_report import (
    arm_report,
    choose_greedily,
    curve_point,
    oracle,
    per_dataset_best,
    require_arms,
    sweep,
)
from training.tables.outcomes import OutcomeTable, read_outcomes


def table_of(*values: list[list[float]], datasets: str = "xy") -> OutcomeTable:
    """One row per argument; per arm its quality and steps."""
    n = len(values)
    return OutcomeTable(
        ids=[str(row) for row in range(n)],
        queries=[f"query {row}" for row in range(n)],
        datasets=[datasets[row % len(datasets)] for row in range(n)],
        splits=["test"] * n,
        arms=ARMS,
        metrics=("quality", "steps"),
        values=np.array(values, dtype=np.float64),
        sources=("t.jsonl",),
        sha256="0",
    )


TABLE = table_of(
    [[1.0, 0.0], [1.0, 1.0], [0.0, 3.0]],
    [[0.0, 0.0], [0.0, 1.0], [1.0, 3.0]],
    [[0.0, 0.0], [1.0, 1.0], [1.0, 3.0]],
    [[0.0, 0.0], [0.0, 1.0], [0.0, 3.0]],
)


def test_fixed_arms_earn_their_means() -> None:
    assert arm_report(TABLE) == {
        "none": {"quality": 0.25, "steps": 0.0},
        "single": {"quality": 0.5, "steps": 1.0},
        "multi": {"quality": 0.5, "steps": 3.0},
    }


def test_the_oracle_takes_the_cheapest_of_the_best_arms() -> None:
    assert oracle(TABLE) == {"quality": 0.75, "steps": pytest.approx((0 + 3 + 1 + 0) / 4)}


def test_the_best_arm_of_each_dataset_is_known_in_hindsight() -> None:
    # Rows 0 and 2 are of x, where single is right twice; rows 1 and 3 of y, where multi is once.
    assert per_dataset_best(TABLE) == {"quality": 0.75, "steps": 2.0}


def test_a_point_holds_value_share_and_the_same_mix_at_random() -> None:
    expected = np.zeros((4, 3, 2))
    expected[0, 0, 0] = expected[1, 2, 0] = expected[2, 2, 0] = expected[3, 0, 0] = 1.0
    choices = choose_greedily(TABLE, expected, TABLE.metrics, {"quality": 1.0})
    assert choices.arm.tolist() == [0, 2, 2, 0]
    point = curve_point(TABLE, choices, {"quality": 1.0})
    assert point.share == {"none": 0.5, "single": 0.0, "multi": 0.5}
    assert point.value == {"quality": 0.75, "steps": 1.5}
    assert point.same_mix_random == {"quality": 0.375, "steps": 1.5}
    assert point.standard_error["quality"] == pytest.approx(0.25)


def test_the_objective_decides_between_quality_and_cost() -> None:
    expected = np.tile(np.array([[0.3, 0.0], [0.4, 1.0], [0.5, 3.0]]), (4, 1, 1))
    for weight, arm in ((0.0, 2), (-0.06, 1), (-0.2, 0)):
        weights = {"quality": 1.0, "steps": weight}
        choices = choose_greedily(TABLE, expected, TABLE.metrics, weights)
        assert set(choices.arm.tolist()) == {arm}


def test_the_sweep_runs_from_quality_alone_to_the_arm_that_costs_least() -> None:
    rng = np.random.default_rng(0)
    expected = np.tile(np.array([[0.3, 0.0], [0.4, 1.0], [0.5, 3.0]]), (4, 1, 1))
    expected[:, :, 0] += 0.05 * rng.random((4, 3))
    points = sweep(TABLE, expected, TABLE.metrics)
    assert points[0].objective == {"quality": 1.0}
    costs = [point.value["steps"] for point in points]
    assert costs == sorted(costs, reverse=True)
    assert points[-1].share["none"] == 1.0
    assert all("steps" in point.objective for point in points[1:])


def test_an_amount_that_the_policy_doesnt_expect_isnt_swept() -> None:
    assert len(sweep(TABLE, np.zeros((4, 3, 1)), ("quality",))) == 1


def test_an_arm_whose_outcome_is_unknown_isnt_chosen() -> None:
    values = TABLE.values.copy()
    values[0, 2] = np.nan
    table = table_of(*values.tolist())
    expected = np.zeros((4, 3, 2))
    expected[:, 2, 0] = 1.0
    choices = choose_greedily(table, expected, table.metrics, {"quality": 1.0})
    assert choices.arm.tolist() == [0, 2, 2, 2]
    assert arm_report(table)["multi"]["quality"] == pytest.approx(2 / 3)
    assert np.isfinite(curve_point(table, choices, {"quality": 1.0}).same_mix_random["quality"])


def test_a_policy_or_a_table_that_doesnt_fit_is_refused(tmp_path: Path) -> None:
    rows = outcome_rows(3, 0)
    for row in rows:
        row["outcomes"]["new"] = {"quality": 1.0}
    wider = read_outcomes([write_rows(tmp_path / "t.jsonl", rows)])
    with pytest.raises(PolicyFitError, match="doesn't know the table's arms new"):
        require_arms(always(0), wider, "test-1")
    with pytest.raises(PolicyFitError, match="reads features 'test-1', the encoder makes 'other'"):
        require_arms(always(0), TABLE, "other")
    for row in rows:
        row["outcomes"] = {"none": {"steps": 1.0}}
    no_quality = read_outcomes([write_rows(tmp_path / "u.jsonl", rows)])
    with pytest.raises(InputError, match="no metric 'quality'"):
        require_arms(always(0), no_quality, "test-1")
