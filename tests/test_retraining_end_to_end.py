"""The loop as a schedule closes it: traffic, export, retrain; all replicas serve what it found."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.service_process import ServiceProcess
from tests.stores import wait_until
from training.cli import main


@pytest.fixture
def replicas(tmp_path: Path, valkey_url: str) -> Iterator[list[ServiceProcess]]:
    config = f'[redis]\nurl = "{valkey_url}"\n'
    services = [ServiceProcess(tmp_path / f"data{n}", config=config) for n in range(2)]
    for service in services:
        service.start()
    yield services
    for service in services:
        service.__exit__(None, None, None)


def rag_policy(*arguments: object) -> Any:
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
def test_what_retrain_promotes_is_served_and_nothing_new_is_refused(
    replicas: list[ServiceProcess], valkey_url: str, tmp_path: Path
) -> None:
    """It is worth more than the rules on the next day's queries."""
    logs, reports = tmp_path / "logs", tmp_path / "reports"
    before = rag_policy("simulate", "--url", replicas[0].url, "--n", 8_000, "--seed", 1)
    rag_policy("simulate", "--url", replicas[1].url, "--n", 8_000, "--seed", 2)
    exported = rag_policy("export", "--from", valkey_url, "--to", logs)
    assert exported["decisions"] == 16_000
    retrain = ("retrain", "--logs", logs, "--store", valkey_url, "--reports", reports)
    promoted = rag_policy(*retrain)
    assert promoted["outcome"] == "promoted", promoted["reason"]
    assert len(promoted["replicas"]) == 2
    assert all(swap["problem"] is None for swap in promoted["replicas"])
    for service in replicas:
        wait_until(lambda service=service: served(service) == promoted["policy"])  # type: ignore[misc]
    after = rag_policy("simulate", "--url", replicas[0].url, "--n", 8_000, "--seed", 1)
    assert after["served"] > before["served"]
    again = rag_policy(*retrain)
    assert (again["outcome"], again["incumbent"]) == ("refused", promoted["policy"])
    assert "incumbent" in again["reason"]  # the log has nothing of what the new one drew
    assert [served(service) for service in replicas] == [promoted["policy"]] * 2


def served(service: ServiceProcess) -> str:
    policy = service.route()["policy"]
    assert isinstance(policy, dict)
    return str(policy["version"])
