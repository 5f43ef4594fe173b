"""`rag-policy simulate` against a real service process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service_process import ServiceProcess


def simulate(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "training.cli", "simulate", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_traffic_and_feedback_reach_the_log_and_are_scored(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path / "data") as service:
        finished = simulate("--url", service.url, "--n", 200, "--seed", 3, "--json")
        assert finished.returncode == 0, finished.stderr
        score = json.loads(finished.stdout)
        assert (score["decisions"], score["feedback"]) == (200, 600)
        assert score["best_fixed"] <= score["oracle"]
        assert score["served"] <= score["oracle"]
        assert sum(score["share"].values()) == pytest.approx(1.0)
        metrics = service.client.get("/metrics").text
        assert "rag_router_feedback_total 600.0" in metrics
        assert "rag_router_log_recorded_total 800.0" in metrics


def test_a_table_is_replayed_and_only_the_drawn_arm_is_told(tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    outcomes = {"none": {"quality": 0.0}, "single": {"quality": 1.0}, "multi": {"quality": 1.0}}
    rows = [{"id": str(n), "query": f"Question {n}?", "outcomes": outcomes} for n in range(30)]
    table.write_text("\n".join(map(json.dumps, rows)))
    config = Path("examples/recorded-arms.toml").read_text()
    with ServiceProcess(tmp_path / "data", config=config) as service:
        finished = simulate(
            "--url", service.url, "--outcomes", table, "--objective", '{"quality": 1}', "--json"
        )
        assert finished.returncode == 0, finished.stderr
        score = json.loads(finished.stdout)
        assert (score["decisions"], score["feedback"]) == (30, 30)
        assert score["served"] == pytest.approx(1.0 - score["share"]["none"])


def test_a_tenants_traffic_has_the_tenants_own_objective(tmp_path: Path) -> None:
    config = '[objectives.thrift]\ncost_usd = -1.0\n[tenants.acme]\nobjective = "thrift"\n'
    with ServiceProcess(tmp_path / "data", config=config) as service:
        asked = ("--url", service.url, "--n", 64, "--json", "--config", tmp_path / "data.toml")
        own, others = (
            json.loads(simulate(*asked, "--tenant", tenant).stdout)["objective"]
            for tenant in ("acme", "bolt")
        )
    assert own == {"cost_usd": -1.0}
    assert others["quality"] == 1.0


def test_without_a_service_it_says_what_to_start() -> None:
    finished = simulate("--url", "http://127.0.0.1:9", "--n", 1)
    assert finished.returncode == 1
    assert "rag-router serve" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_arms_the_table_lacks_are_named(tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    row = {"id": "1", "query": "Q?", "outcomes": {"none": {"quality": 1.0}}}
    table.write_text(json.dumps(row))
    with ServiceProcess(tmp_path / "data") as service:
        finished = simulate("--url", service.url, "--outcomes", table)
    assert finished.returncode == 2
    assert "recorded-arms.toml" in finished.stderr
    assert "Traceback" not in finished.stderr
