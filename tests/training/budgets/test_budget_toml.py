"""What calibration prints for router.toml is what the service reads."""

import tomllib

from policies.settings import PolicySettings
from policies.strict_toml import decode_strictly
from training.budgets.budget_toml import budget_tables, objective_table


def test_an_objective_reads_back_with_its_odd_metric_names() -> None:
    weights = {"quality": 1.0, "latency.p95": -0.012345678901234, "steps": -1e-07}
    read = decode_strictly(tomllib.loads(objective_table("within 2", weights)), PolicySettings)
    assert read.objectives == {"within 2": weights}


def test_a_budget_reads_back_with_the_objective_it_names() -> None:
    text = budget_tables("capped", "balanced", {}, "cost_usd", 0.002, 31.25)
    budget = decode_strictly(tomllib.loads(text), PolicySettings).budgets["capped"]
    assert (budget.objective, budget.metric, budget.at_most, budget.weight) == (
        "balanced", "cost_usd", 0.002, 31.25
    )  # fmt: skip


def test_an_objective_without_a_name_is_given_one() -> None:
    base = {"quality": 1.0, "currency": 0.5}
    text = budget_tables("capped", None, base, "steps", 2, 0.01)
    read = decode_strictly(tomllib.loads(text), PolicySettings)
    assert read.objectives == {"capped-base": base}
    assert read.all_objectives()["capped"] == {**base, "steps": -0.01}
