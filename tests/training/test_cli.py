"""`rag-policy` as its users meet it: every subcommand, its JSON, and every wrong use."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.training.worlds import outcome_rows, write_rows
from training.cli import SUBCOMMANDS, main

OWN = ("import", "replay", "train", "evaluate", "decide", "report")


def rag_policy(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def ran(*arguments: object) -> Any:
    """The JSON of a run that must succeed, with nothing else on standard output."""
    result = rag_policy(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(result: Result, *parts: str) -> None:
    """Wrong use: status 2, one line that says it all, and no traceback."""
    assert result.exit_code == 2, (result.stdout, result.stderr)
    assert result.stdout == ""
    [line] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    for part in parts:
        assert part in line
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = outcome_rows(800, 0) + outcome_rows(300, 1, split="test")
    return write_rows(tmp_path_factory.mktemp("table") / "t.jsonl.gz", rows)


@pytest.fixture(scope="module")
def logs(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("logs")
    ran("replay", "--outcomes", table, "--split", "train", "--n", 2_400, "--to", directory)
    return directory


@pytest.fixture(scope="module")
def policy(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("policy") / "p"
    ran("train", "--outcomes", table, "--split", "train", "--to", directory)
    return directory


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_has_help_with_an_example(name: str) -> None:
    result = rag_policy(name, "--help")
    assert result.exit_code == 0
    if name in OWN:
        assert f"rag-policy {name} " in result.stdout.split("Examples:")[1]
        assert "--json" in result.stdout


def test_help_is_instant_and_loads_no_numerics() -> None:
    code = "import sys; from training.cli import main; main(['--help'], standalone_mode=False); "
    code += "sys.exit(len({'numpy', 'pyarrow', 'sklearn', 'rich'} & sys.modules.keys()))"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"Commands:" in done.stdout
    assert time.monotonic() - began < 2.0  # 0.1 s alone on a machine


def test_replay_writes_a_log_with_known_propensities(logs: Path, table: Path) -> None:
    assert any(logs.glob("decisions/day=2026-01-0*/**/replay-0.parquet"))
    refused(
        rag_policy("replay", "--outcomes", table, "--to", logs), str(logs), "choose another seed"
    )


def test_a_log_too_small_for_the_gate_is_all_learned_from_and_said_so(
    logs: Path, tmp_path: Path
) -> None:
    trained = ran("train", "--logs", logs, "--to", tmp_path / "p")
    assert (trained["training"]["rows"], trained["training"]["held_out"]) == (2_400, 0)
    judged = ran("evaluate", "--policy", tmp_path / "p", "--logs", logs)
    assert judged["in_sample"] is True
    [part] = judged["objectives"]
    assert part["gate"]["promote"] is False
    assert part["gate"]["conditions"][0]["name"] == "unseen rounds"


def test_the_loop_closes_on_a_log(logs: Path, table: Path, tmp_path: Path) -> None:
    """Uniform logging earns 0.47 here; knowing the kind of question 0.8."""
    words = ["--logs", logs, "--to", tmp_path / "p", "--seed", 1]
    trained = ran("train", *words, "--holdout", 0.3)
    assert trained["training"]["rows"] == 1_680
    judged = ran("evaluate", "--policy", tmp_path / "p", "--logs", logs)
    [report] = judged["objectives"]
    assert judged["rows"] == 720
    assert report["advantage"]["lower"] > 0.0
    assert report["estimates"]["dm"]["lower"] is None
    true = ran(
        "evaluate", "--policy", tmp_path / "p", "--outcomes", table, "--split", "test",
        "--objective", "quality",
    )  # fmt: skip
    assert true["curve"][0]["value"]["quality"] > 0.7


def test_training_twice_gives_the_same_numbers(logs: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        ran("train", "--logs", logs, "--to", tmp_path / name, "--seed", 7)
    one, two = (tmp_path / name / "tensors.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_evaluate_prints_exactly_the_contracts_keys(policy: Path, table: Path) -> None:
    report = ran("evaluate", "--policy", policy, "--outcomes", table, "--split", "test")
    assert list(report) == ["arms", "oracle", "per_dataset_best", "curve", "leave_one_dataset_out"]
    assert {"objective", "value", "same_mix_random", "share"} <= report["curve"][0].keys()
    best = max(point["value"]["quality"] for point in report["curve"])
    assert best > max(means["quality"] for means in report["arms"].values()) + 0.2
    for point in report["curve"]:
        gain = point["value"]["quality"] - point["same_mix_random"]["quality"]
        assert gain >= -3 * point["gain_standard_error"]["quality"]


def test_evaluating_on_the_training_rows_is_noted(policy: Path, table: Path) -> None:
    result = rag_policy("evaluate", "--policy", policy, "--outcomes", table, "--split", "train")
    assert result.exit_code == 0
    assert "its values here flatter it" in result.stderr


def test_decide_writes_one_line_a_query(policy: Path, table: Path, tmp_path: Path) -> None:
    objective = '{"quality": 1, "steps": -0.02}'
    target = tmp_path / "d.jsonl"
    report = ran(
        "decide", "--policy", policy, "--queries", table, "--objective", objective, "--to", target
    )
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(lines) == report["decisions"] == 1_100
    first = lines[0]
    assert list(first) == ["id", "arm", "route", "probabilities", "expected"]
    assert first["probabilities"][first["arm"]] == 1.0
    assert first["route"] is None
    assert set(first["expected"][first["arm"]]) == {"quality", "steps"}


def test_decide_knows_the_routes_of_configured_arms(policy: Path, tmp_path: Path) -> None:
    queries, config = tmp_path / "q.txt", tmp_path / "router.toml"
    queries.write_text("Rewrite the note about the fair in a friendly tone\n")
    config.write_text('[arms.none]\nroute = "finetuned"\n[objectives.mine]\nquality = 1.0\n')
    result = rag_policy(
        "decide", "--policy", policy, "--queries", queries, "--config", config,
        "--objective", "mine", "--to", "-",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    [line] = result.stdout.splitlines()
    assert json.loads(line)["route"] == "finetuned"


def test_imports_are_idempotent_and_train_without_a_log(table: Path, tmp_path: Path) -> None:
    first = ran("import", "--outcomes", table, "--split", "train", "--to", tmp_path)
    second = ran("import", "--outcomes", table, "--split", "train", "--to", tmp_path)
    assert [first["imported"][0]["already_there"], second["imported"][0]["already_there"]] == [
        False,
        True,
    ]
    trained = ran("train", "--logs", tmp_path, "--to", tmp_path / "p")
    assert trained["training"]["rows"] == 800


def test_a_warm_start_helps_a_short_log(table: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    ran("replay", "--outcomes", table, "--split", "train", "--n", 200, "--to", logs)
    ran("import", "--outcomes", table, "--split", "train", "--to", logs)
    trained = ran("train", "--logs", logs, "--to", tmp_path / "p")
    assert trained["training"]["warm_rows"] == 800
    true = ran(
        "evaluate", "--policy", tmp_path / "p", "--outcomes", table, "--split", "test",
        "--objective", "quality",
    )  # fmt: skip
    assert true["curve"][0]["value"]["quality"] > 0.7


def test_a_policy_can_log_the_next_replay(policy: Path, table: Path, tmp_path: Path) -> None:
    ran("replay", "--outcomes", table, "--logger", policy, "--n", 300, "--to", tmp_path / "l")
    trained = ran("train", "--logs", tmp_path / "l", "--to", tmp_path / "p")
    assert trained["parent"] == json.loads((policy / "manifest.json").read_text())["version"]


WRONG = {
    "train --to NEW": "give --logs, --outcomes or both",
    "train --logs EMPTY --to NEW": "holds no decision yet",
    "train --logs MISSING --to NEW": "export one with rag-policy export",
    "train --outcomes MISSING --to NEW": "no such file",
    "train --outcomes BROKEN --to NEW": "broken.jsonl:2:outcomes.a.quality: must be a number",
    "train --outcomes TABLE --split tran --to NEW": "did you mean 'train'",
    "train --outcomes TABLE --to TABLE": "is a file",
    "train --outcomes TABLE --to NEW --holdout 1": "--holdout",
    "train --outcomes TABLE --to NEW --holdout nan": "nan is no number",
    "train --logs LOGS --to NEW --split train": "--split needs --outcomes",
    "train --logs LOGS --to NEW --objective balancd": "did you mean 'balanced'",
    "evaluate --policy POLICY": "exactly one of --logs and --outcomes",
    "evaluate --policy MISSING --logs LOGS": "no policy at",
    "evaluate --policy EMPTY --logs LOGS": "is no policy",
    "evaluate --policy POLICY --logs LOGS --objective {": "is no objective",
    """evaluate --policy POLICY --outcomes TABLE --objective '{"qualty": 1}'""": "'quality'",
    "evaluate --policy POLICY --outcomes OTHER": "doesn't know the table's arms a, b",
    "decide --policy POLICY --queries MISSING --to NEW": "no such file",
    "decide --policy POLICY --queries BLANK --to NEW": "no queries",
    "decide --policy POLICY --queries TABLE --to - --json": "name a file",
    "replay --outcomes TABLE --logger epsilon:2 --to NEW": "epsilon must lie",
    "replay --outcomes TABLE --logger uniformly --to NEW": "'uniformly' is no policy",
    "replay --outcomes TABLE --logger epsilon:0.1 --incumbent mult --to NEW": "'multi'",
    "replay --outcomes TABLE --n 0 --to NEW": "--n",
    "import --outcomes BROKEN --to NEW": "broken.jsonl:2:outcomes.a.quality: must be a number",
    "import --to NEW": "--outcomes",
    "no-such-command": "No such command",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_use_is_status_two_and_says_what_to_do(
    line: str, table: Path, logs: Path, policy: Path, tmp_path: Path
) -> None:
    good = {"id": "1", "query": "q", "outcomes": {"a": {"quality": 1}, "b": {"quality": 0}}}
    bad = {"id": "2", "query": "q", "outcomes": {"a": {"quality": "1"}}}
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank").write_text("\n")
    places = {
        "TABLE": table,
        "LOGS": logs,
        "POLICY": policy,
        "NEW": tmp_path / "new",
        "EMPTY": tmp_path / "empty",
        "MISSING": tmp_path / "missing",
        "BLANK": tmp_path / "blank",
        "BROKEN": write_rows(tmp_path / "broken.jsonl", [good, bad]),
        "OTHER": write_rows(tmp_path / "other.jsonl", [good]),
    }
    refused(rag_policy(*(places.get(word, word) for word in shlex.split(line))), WRONG[line])
    assert not (tmp_path / "new").exists()


def test_a_wrong_configuration_is_named(policy: Path, table: Path, tmp_path: Path) -> None:
    config = tmp_path / "router.toml"
    config.write_text("[objectives.mine]\nquality = 'much'\n")
    refused(
        rag_policy("evaluate", "--policy", policy, "--outcomes", table, "--config", config),
        "quality",
    )


def test_an_interruption_leaves_nothing_half_written(table: Path, tmp_path: Path) -> None:
    """A real process, stopped while it reads a table that never ends."""
    pipe = tmp_path / "endless.jsonl"
    rows = write_rows(tmp_path / "t.jsonl", outcome_rows(20_000, 0))
    pipe.symlink_to(rows)
    code = "from training.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "replay", "--outcomes", str(pipe), "--n", "100000",
         "--to", str(tmp_path / "logs")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Error: stopped by SIGINT" in stderr
    assert b"Traceback" not in stderr
    assert not list(tmp_path.glob("logs/**/*.tmp"))
    assert not list(tmp_path.glob("logs/**/*.parquet"))
