"""`rag-policy calibrate`: from a log or a table to weights that `decide` keeps the budget with."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from policies.settings import PolicySettings
from policies.strict_toml import decode_strictly
from tests.training.worlds import outcome_rows, write_rows
from training.cli import main

STEPS = {"none": 0.0, "single": 1.0, "multi": 3.0}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def rag_policy(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, a policy trained on it, a log of it, and 800 fresh queries."""
    folder = tmp_path_factory.mktemp("world")
    rows = outcome_rows(1_600, 0)
    table = write_rows(folder / "table.jsonl", rows[::2])
    write_rows(folder / "fresh.jsonl", rows[1::2])
    rag_policy("train", "--outcomes", table, "--to", folder / "policy")
    rag_policy(
        "replay", "--outcomes", table, "--logger", "uniform", "--n", 1_500, "--seed", 0,
        "--to", folder / "logs",
    )  # fmt: skip
    return folder


def decided(world: Path, objective: dict[str, float]) -> tuple[float, float]:
    """The mean steps and the share that retrieves, on fresh queries of the same kinds."""
    to = world / "decisions.jsonl"
    rag_policy(
        "decide", "--policy", world / "policy", "--queries", world / "fresh.jsonl",
        "--objective", json.dumps(objective), "--to", to,
    )  # fmt: skip
    arms = [json.loads(line)["arm"] for line in to.read_text().splitlines()]
    steps = sum(STEPS[arm] for arm in arms) / len(arms)
    return steps, sum(arm != "none" for arm in arms) / len(arms)


@pytest.mark.parametrize("source", ["--logs", "--outcomes"])
def test_a_policy_keeps_the_budget_on_the_recent_queries_and_on_fresh_ones(
    world: Path, source: str
) -> None:
    given = world / ("logs" if source == "--logs" else "table.jsonl")
    found = rag_policy(
        "calibrate", "--policy", world / "policy", source, given, "--budget", "steps<=1.1"
    )
    assert found["met"]
    assert found["binding"]
    assert 0.98 * 1.1 <= found["spend"]["value"] <= 1.1
    steps, _ = decided(world, found["objective"])
    error = found["spend"]["standard_error"]
    assert steps == pytest.approx(1.1, abs=4.0 * max(error, 1.2 / 800**0.5))


def test_the_retrieval_rate_is_kept_by_decide_too(world: Path) -> None:
    found = rag_policy(
        "calibrate", "--policy", world / "policy", "--logs", world / "logs",
        "--budget", "retrieval_rate<=0.4",
    )  # fmt: skip
    assert found["spend"]["value"] == pytest.approx(0.4, abs=0.008)
    assert found["basis"] == "the arms' routes"
    _, rate = decided(world, found["objective"])
    assert rate == pytest.approx(0.4, abs=4.0 * (2 * 0.24 / 800) ** 0.5)


def test_the_arms_that_retrieve_may_be_named(world: Path) -> None:
    found = rag_policy(
        "calibrate", "--policy", world / "policy", "--logs", world / "logs",
        "--budget", "retrieval_rate<=0.2", "--retrieving", "multi",
    )  # fmt: skip
    assert found["share"]["multi"] == pytest.approx(0.2, abs=0.004)


def test_what_it_prints_for_router_toml_is_a_sound_configuration(world: Path) -> None:
    found = rag_policy(
        "calibrate", "--policy", world / "policy", "--logs", world / "logs",
        "--budget", "steps<=1.1", "--objective", '{"quality": 2}', "--name", "capped",
    )  # fmt: skip
    fixed = decode_strictly(tomllib.loads(found["toml"]), PolicySettings)
    assert fixed.objectives["capped"] == found["objective"]
    tracked = decode_strictly(tomllib.loads(found["tracked_toml"]), PolicySettings)
    assert tracked.all_objectives()["capped"] == found["objective"]


def test_with_a_configuration_its_exploration_counts(world: Path) -> None:
    config = world / "router.toml"
    config.write_text('[exploration]\nkind = "epsilon"\nepsilon = 0.3\nfloor = 0.05\n')
    command = [
        "calibrate", "--policy", world / "policy", "--logs", world / "logs",
        "--budget", "steps<=1.1",
    ]  # fmt: skip
    explored = rag_policy(*command, "--config", config)
    greedy = rag_policy(*command, "--config", config, "--greedy")
    assert (explored["exploration"], greedy["exploration"]) == ("epsilon", "greedy")
    assert explored["least"]["value"] == pytest.approx(0.3 * 4.0 / 3.0, abs=0.02)
    assert greedy["least"]["value"] == pytest.approx(0.0, abs=0.02)


def test_people_are_shown_the_weights_and_both_tables(world: Path) -> None:
    result = run(
        "calibrate", "--policy", world / "policy", "--outcomes", world / "table.jsonl",
        "--budget", "steps<=1.1",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    for text in ("[objectives.within-budget]", "[budgets.within-budget]", "quality lost"):
        assert text in result.stdout


def test_a_budget_below_all_that_can_be_spent_fails_with_the_least(world: Path) -> None:
    config = world / "explores.toml"
    config.write_text('[exploration]\nkind = "epsilon"\nepsilon = 0.3\n')
    result = run(
        "calibrate", "--policy", world / "policy", "--logs", world / "logs",
        "--budget", "steps<=0.1", "--config", config, "--json",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "steps<=0.1 can't be met" in result.stderr
    assert json.loads(result.stdout)["met"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "steps>=1"], "METRIC<=NUMBER"),
        (["--budget", "stepps<=1"], "did you mean 'steps'"),
        (["--budget", "quality<=0.5"], "the objective wants more of 'quality'"),
        (["--budget", "steps<=1", "--objective", "qualty"], "did you mean 'quality'"),
        (["--budget", "steps<=1", "--objective", '{"speed": 1}'], "unknown metric 'speed'"),
        (["--budget", "retrieval_rate<=1", "--retrieving", "mutli"], "did you mean 'multi'"),
        (["--budget", "steps<=1", "--tenant", "acme"], "no decision of tenant 'acme'"),
        (["--budget", "steps<=1", "--split", "test"], "--split needs --outcomes"),
        (["--budget", "steps<=1", "--recent", "0"], "--recent"),
    ],
)
def test_wrong_use_is_said_in_a_line(arguments: list[str], message: str, world: Path) -> None:
    result = run("calibrate", "--policy", world / "policy", "--logs", world / "logs", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
