"""A scheduled command that has succeeded is noted in the store, a failed one isn't."""

import time
from pathlib import Path

import pytest
import redis

from policies.store_keys import StoreKeys
from tests.training.commands.test_retrain import retrain
from tests.training.test_promote_commands import write_log
from training.log.store import Secrets
from training.run_notes import note_success_at


def noted(url: str, run: str, prefix: str = "rag") -> float:
    """When the run last succeeded; 0 for never."""
    with redis.Redis.from_url(url) as client:
        return float(client.hget(StoreKeys(prefix).last_runs, run) or 0.0)


def test_training_that_the_gate_refuses_has_succeeded(valkey_url: str, tmp_path: Path) -> None:
    write_log(tmp_path / "logs", 10)
    result = retrain(valkey_url, tmp_path / "logs", tmp_path / "reports")
    assert result.stdout.startswith("refused"), result.output
    assert 0.0 <= time.time() - noted(valkey_url, "training") < 60.0
    assert noted(valkey_url, "export") == 0.0


def test_training_that_fails_is_not_noted(valkey_url: str, tmp_path: Path) -> None:
    assert retrain(valkey_url, tmp_path / "nowhere", tmp_path / "reports").exit_code == 2
    assert noted(valkey_url, "training") == 0.0


def test_each_project_has_notes_of_its_own(valkey_url: str) -> None:
    note_success_at(valkey_url, "other", Secrets(), "training")
    assert noted(valkey_url, "training", "other") > 0.0
    assert noted(valkey_url, "training") == 0.0


def test_a_store_that_is_away_makes_no_run_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """What the run came to stands; people are told."""
    note_success_at("redis://127.0.0.1:1/0", "rag", Secrets(), "training")
    assert "that this run succeeded isn't noted: the store at" in capsys.readouterr().err
