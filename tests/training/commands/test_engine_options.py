"""Where the passes run: what is refused, and what is missing."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from training.cli import main
from training.commands.engine_options import open_engine
from training.engines.local import LocalEngine
from training.errors import TrainingError


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    return result.output


def test_a_scheduler_is_dasks(tmp_path: Path) -> None:
    out = refused("train", "--logs", tmp_path, "--to", tmp_path / "p", "--scheduler", "tcp://h:1")
    assert "--scheduler needs --engine dask" in out


def test_outcomes_need_no_engine(tmp_path: Path) -> None:
    out = refused(
        "train", "--outcomes", tmp_path / "t.jsonl", "--to", tmp_path / "p", "--engine", "dask"
    )
    assert "--engine dask needs --logs" in out


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "training.engines.dask", raising=False)
    with (
        pytest.raises(TrainingError, match=r"adaptive-rag-router\[dask\]"),
        open_engine("dask", None),
    ):
        pass


def test_the_local_engine_needs_nothing() -> None:
    with open_engine("local", None) as engine:
        assert isinstance(engine, LocalEngine)
