"""`rag-policy export --every`: a process that goes on until it is told to stop."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from tests.event_factory import decision, feedback
from tests.stores import StoreServer
from tests.training.log.test_export import append, rows
from tests.training.policy_command import PolicyCommand
from training.cli import main

Exporter = Callable[..., PolicyCommand]


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    """Starts one, to the folder `logs`."""
    running: list[PolicyCommand] = []

    def start(location: object, *options: object, every: str = "0.1") -> PolicyCommand:
        arguments = ["--from", location, "--to", tmp_path / "logs", "--every", every, *options]
        running.append(PolicyCommand(tmp_path, "export", *arguments))
        return running[-1]

    yield start
    for command in running:
        with command:
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_each_run_prints_a_line_and_a_signal_ends_it_with_status_0(
    exporter: Exporter, valkey_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    """What comes between two runs is in the next, once."""
    with redis.Redis.from_url(valkey_url) as client:
        append(client, [decision(1)])
        command = exporter(valkey_url)
        command.wait_for("1 decisions, 0 answers and 0 feedback written to")
        append(client, [decision(2), feedback(1)])
        command.wait_for("1 decisions, 0 answers and 1 feedback written to")
        command.wait_for("nothing new for")
    assert command.stop(number) == 0
    assert command.stderr == ""
    assert rows(tmp_path / "logs", "decisions") == ["decision-000001", "decision-000002"]


def test_a_store_that_is_empty_or_away_is_waited_for(
    exporter: Exporter, valkey_server: StoreServer, tmp_path: Path
) -> None:
    """It says so each time; nothing is lost or doubled."""
    command = exporter(valkey_server.url, "--json")
    command.wait_for("the store has never had a decision")
    with valkey_server.client() as client:
        append(client, [decision(1)])
    command.wait_for('"decisions":1')
    valkey_server.kill()
    command.wait_for("is it running, and is the address right?; trying again every 0.1 s", times=2)
    valkey_server.start()
    with valkey_server.client() as client:
        append(client, [decision(2)])
    command.wait_for('"decisions":1', times=2)
    assert command.stop() == 0
    reports = [json.loads(line) for line in command.stdout.splitlines()]
    assert sum(report["decisions"] for report in reports) == 2
    assert rows(tmp_path / "logs", "decisions") == ["decision-000001", "decision-000002"]


def test_a_data_directory_without_a_service_is_waited_for(
    exporter: Exporter, tmp_path: Path
) -> None:
    """As while the service restarts."""
    command = exporter(tmp_path / "data")
    command.wait_for("no service runs on", times=2)
    assert command.stop() == 0


def test_the_wait_between_runs_ends_at_once(exporter: Exporter, valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        append(client, [decision(1)])
    command = exporter(valkey_url, every="1d")
    command.wait_for("1 decisions")
    assert command.stop() == 0


def test_what_only_a_person_can_mend_ends_it(
    exporter: Exporter, valkey_server: StoreServer, tmp_path: Path
) -> None:
    """Another store's log, a wrong URL, a wrong password; with the status of a single run."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "export.json").write_text('{"log": "another"}')
    with valkey_server.client() as client:
        append(client, [decision(1)])
        command = exporter(valkey_server.url)
        assert command.process.wait(timeout=60) == 2
        assert "holds the log of another store" in command.stderr
        command = exporter("ftp://store")
        assert command.process.wait(timeout=60) == 2
        client.config_set("requirepass", "secret")
    command = exporter(valkey_server.url)
    assert command.process.wait(timeout=60) == 1
    assert "refuses: " in command.stderr
    assert "--password-env" in command.stderr


@pytest.mark.parametrize("every", ["0", "-1", "6 hours", "soon"])
def test_what_is_no_duration_is_wrong_use(tmp_path: Path, every: str) -> None:
    result = CliRunner().invoke(main, ["export", "--to", str(tmp_path), "--every", every])
    assert result.exit_code == 2
    assert "is no duration above 0: give seconds, or a number with s, m, h or d" in result.stderr
