"""Budgets: their text, their settings, and the weights they make of an objective's."""

import tomllib

import pytest

from policies.budget import Limit, parse_limit, with_cost_weight
from policies.errors import ObjectiveError, SettingsError
from policies.settings import PolicySettings
from policies.strict_toml import decode_strictly

CAPPED = """
[budgets.capped]
metric = "cost_usd"
at_most = 0.002
weight = 30.0
objective = "balanced"
"""


def settings(toml: str) -> PolicySettings:
    return decode_strictly(tomllib.loads(toml), PolicySettings)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("cost_usd<=0.002", Limit("cost_usd", 0.002)),
        (" latency_s <= 1.5 ", Limit("latency_s", 1.5)),
        ("steps<=2e0", Limit("steps", 2.0)),
    ],
)
def test_a_budget_is_a_metric_and_a_limit(text: str, limit: Limit) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize(
    "text", ["", "steps", "steps<2", "steps>=2", "steps<=", "steps<=x", "<=2", "steps<=nan",
             "steps<=inf", "steps<=0", "steps<=-1", "1steps<=2"]
)  # fmt: skip
def test_anything_else_is_an_error_that_shows_a_budget(text: str) -> None:
    with pytest.raises(ObjectiveError, match="retrieval_rate<=0.4") as caught:
        parse_limit(text)
    assert caught.value.field == "budget"


def test_a_cost_weight_is_taken_from_the_objectives_own_and_leaves_it_alone() -> None:
    base = {"quality": 1.0, "cost_usd": -20.0}
    assert with_cost_weight(base, "cost_usd", 5.0) == {"quality": 1.0, "cost_usd": -25.0}
    assert with_cost_weight(base, "steps", 0.5) == {**base, "steps": -0.5}
    assert base == {"quality": 1.0, "cost_usd": -20.0}


def test_a_budget_is_named_like_an_objective_and_starts_with_its_weight() -> None:
    found = settings('default_objective = "capped"' + CAPPED).all_objectives()
    assert found["capped"] == {"quality": 1.0, "cost_usd": -50.0, "latency_s": -0.02}


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (CAPPED.replace("capped", "quality"), "budgets.quality has the name of an objective"),
        (CAPPED.replace("capped", "custom"), "budgets.custom has the name of an objective"),
        (CAPPED + "[objectives.capped]\nquality = 1", "budgets.capped has the name"),
        (CAPPED.replace('"balanced"', '"balancd"'), "did you mean 'balanced'"),
        (CAPPED.replace("0.002", "0.0"), "at_most must be positive"),
        (CAPPED.replace("0.002", "nan"), "at_most must be positive"),
        (CAPPED.replace("30.0", "-1.0"), "weight must lie in"),
        (CAPPED + "window = 10", "window must lie in"),
        (CAPPED + "weigth = 1.0", "did you mean 'weight'"),
        ('[budgets.b]\nat_most = 1.0', "metric"),
        (CAPPED + '[tenants.a]\nbudget = "caped"', "did you mean 'capped'"),
        (CAPPED + '[tenants.a]\nobjective = "capped"', "tenants.a.objective names 'capped'"),
        (CAPPED + '[tenants.a]\nbudget = "capped"\nobjective = "fast"', "not both"),
        ('[tenants.a]\nexploration = { flor = 0.1 }', "did you mean 'floor'"),
        ('[tenants.a]\nexploration = { floor = 2.0 }', "tenants.a.exploration"),
        ('[tenants.a]\nexploration = { floor = "x" }', "tenants.a.exploration"),
        ('[tenants.a]\nguardrails = { quality = -0.1 }', "guardrails.quality"),
        ('[tenants.a]\nguardrails = { quality = nan }', "guardrails.quality"),
    ],
)  # fmt: skip
def test_a_wrong_budget_or_tenant_is_an_error_that_names_it(toml: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(toml)
    assert message in str(caught.value)


def test_a_tenants_exploration_differs_only_in_the_keys_it_gives() -> None:
    found = settings(
        "[exploration]\nfloor = 0.02\ngamma = 50.0\n"
        "[tenants.careful]\nexploration = { floor = 0.01 }\n[tenants.plain]\n"
    )
    careful = found.exploration_of("careful")
    assert (careful.floor, careful.gamma, careful.kind) == (0.01, 50.0, "squarecb")
    assert found.exploration_of("plain") == found.exploration
    assert found.exploration_of("unheard of") == found.exploration


def test_guardrails_are_the_tenants_own_and_nobody_elses() -> None:
    found = settings("[tenants.a]\nguardrails = { quality = 0.01, latency_s = 0.2 }\n")
    assert found.tenant_guardrails() == {"a": {"quality": 0.01, "latency_s": 0.2}}
