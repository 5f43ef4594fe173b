"""What must hold on the recorded outcomes: the figures of the README, from the commands alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from training.cli import main

pytestmark = [pytest.mark.data, pytest.mark.slow]


def rag_policy(*arguments: object) -> Any:
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def table(recorded: Path) -> Path:
    return recorded / "outcomes_llama31_8b.jsonl.gz"


@pytest.fixture(scope="module")
def report(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    policy = tmp_path_factory.mktemp("recorded") / "policy"
    rag_policy("train", "--outcomes", table, "--split", "train", "--to", policy)
    return rag_policy("evaluate", "--policy", policy, "--outcomes", table, "--split", "test")


def test_the_best_arms_quality_costs_little_more_than_half_its_steps(report: Any) -> None:
    """Always `multi`: .401 at 3.35 steps; a 770 M-parameter T5 classifier: .404 at 1.85."""
    assert report["arms"]["multi"]["quality"] == pytest.approx(0.401, abs=5e-4)
    affordable = [p["value"]["quality"] for p in report["curve"] if p["value"]["steps"] <= 1.90]
    assert max(affordable) >= 0.400


def test_no_objective_earns_less_than_its_mix_at_random(report: Any) -> None:
    for point in report["curve"]:
        assert point["value"]["quality"] >= point["same_mix_random"]["quality"], point["objective"]


def test_the_value_on_datasets_left_out_is_reported(report: Any) -> None:
    left = report["leave_one_dataset_out"]
    assert {entry["dataset"] for entry in left} == {
        "2wikimultihopqa", "hotpotqa", "musique", "nq", "squad", "trivia"
    }  # fmt: skip
    assert all(entry["trained_on"].startswith("the policy's training rows") for entry in left)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("logger", ["uniform", "epsilon:0.1"])
def test_what_is_learned_from_a_log_is_no_worse_than_the_best_arm(
    logger: str, table: Path, tmp_path: Path
) -> None:
    """Within one standard error of the best fixed arm on the test rows, for 5 seeds of 5.

    By chance a log of 3,000 uniform draws ranks two arms that are 0.039 apart wrongly once in 27
    seeds; these seeds are fixed, so the test is too.
    """
    for seed in range(5):
        logs, policy = tmp_path / f"logs-{seed}", tmp_path / f"policy-{seed}"
        rag_policy(
            "replay", "--outcomes", table, "--split", "train", "--logger", logger,
            "--n", 3_000, "--seed", seed, "--to", logs,
        )  # fmt: skip
        rag_policy("train", "--logs", logs, "--to", policy, "--seed", seed, "--holdout", 0)
        judged = rag_policy(
            "evaluate", "--policy", policy, "--outcomes", table, "--split", "test",
            "--objective", "quality",
        )  # fmt: skip
        best = max(means["quality"] for means in judged["arms"].values())
        assert judged["curve"][0]["value"]["quality"] >= best - 0.009, (logger, seed)
