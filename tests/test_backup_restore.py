"""A backup is taken as docs/operations.md says, everything is destroyed, and it is restored."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from policies.registries.redis_registry import RedisPolicyRegistry
from tests.service_process import ServiceProcess
from tests.stores import StoreServer, wait_until
from tests.training.log.test_export import rows
from tests.training.test_promote_commands import write_policy
from training.cli import main

pytestmark = pytest.mark.slow

CONFIG = '[redis]\nurl = "{url}"\n'
APPEND_ONLY = "appendonlydir"


@pytest.fixture
def stores(store_server: StoreServer) -> Iterator[list[StoreServer]]:
    """The store, and whatever is restored later, removed in the end."""
    servers = [store_server]
    yield servers
    for server in servers[1:]:
        server.remove()


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def export(store: StoreServer, logs: Path, *options: str) -> Any:
    return run("export", "--from", store.url, "--to", logs, *options)


class Service(ServiceProcess):
    """A replica with a data directory of its own."""

    def __init__(self, folder: Path, store: StoreServer) -> None:
        super().__init__(folder, config=CONFIG.format(url=store.url))

    def reported(self, number: int) -> list[str]:
        """So many decisions, each with feedback, all of it in the store."""
        ids = [str(self.route(f"Who wrote book {n}?")["decision_id"]) for n in range(number)]
        reports = [{"decision_id": one, "metric": "quality", "value": 1.0} for one in ids]
        self.client.post("/v1/feedback", json=reports).raise_for_status()
        wait_until(lambda: all(self.whole(one) for one in ids))
        return ids

    def whole(self, decision_id: str) -> bool:
        found = self.trace(decision_id)
        return found.is_success and bool(found.json()["feedback"])


def back_up_store(store: StoreServer, backup: Path) -> None:
    """The append-only files, while none of them is being rewritten."""
    with store.client() as client:
        before = client.config_get("auto-aof-rewrite-percentage")
        client.config_set("auto-aof-rewrite-percentage", 0)
        wait_until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
        backup.mkdir(exist_ok=True)
        _copy(store.directory / APPEND_ONLY, backup / APPEND_ONLY)
        client.config_set("auto-aof-rewrite-percentage", *before.values())


def back_up_logs(logs: Path, backup: Path) -> None:
    """Under the exporter's own lock."""
    backup.mkdir(exist_ok=True)
    command = ["flock", logs / "export.lock", "cp", "-a", logs, backup / "logs"]
    subprocess.run([str(word) for word in command], check=True)


def destroy(service: Service, store: StoreServer, logs: Path) -> None:
    service.kill()
    store.remove()
    shutil.rmtree(logs)


def restored_store(backup: Path, servers: list[StoreServer]) -> StoreServer:
    """A store in a new directory."""
    server = StoreServer(servers[0].kind)
    servers.append(server)
    _copy(backup / APPEND_ONLY, server.directory / APPEND_ONLY)
    server.start()
    return server


def _copy(source: Path, to: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(to)], check=True)


def decisions_in(logs: Path) -> list[str]:
    """Every row's id, whatever is twice."""
    return sorted(rows(logs, "decisions"))


def test_what_is_restored_serves_the_same_policy_and_exports_each_event_once(
    stores: list[StoreServer], tmp_path: Path
) -> None:
    """What came after the backup is gone, and nothing else."""
    [store], logs, backup = stores, tmp_path / "logs", tmp_path / "backup"
    write_policy(tmp_path / "policy", 0.9)
    with Service(tmp_path / "data", store) as service:
        promoted = run(
            "promote", "--policy", tmp_path / "policy", "--store", store.url, "--override", "first"
        )
        exported = service.reported(4)
        assert export(store, logs)["decisions"] == 4
        kept = [*exported, *service.reported(3)]
        back_up_store(store, backup)
        back_up_logs(logs, backup)
        gone = service.reported(2)
        destroy(service, store, logs)

    store = restored_store(backup, stores)
    _copy(backup / "logs", logs)
    with Service(tmp_path / "new", store) as service:
        policy = service.route()["policy"]
        assert isinstance(policy, dict)
        assert policy["version"] == promoted["version"]
        assert all(service.whole(one) for one in kept)
        assert [service.trace(one).status_code for one in gone] == [404, 404]
        after = service.reported(2)
    report = export(store, logs, "--trim")
    assert (report["missed"], report["damaged"]) == (0, 0)
    assert set(decisions_in(logs)) >= {*kept, *after}
    assert len(decisions_in(logs)) == len(kept) + len(after) + 1
    assert sorted(rows(logs, "feedback")) == sorted([*kept, *after])
    with store.client() as client:
        assert [a.version for a in RedisPolicyRegistry(client).activations()] == [
            promoted["version"]
        ]


@pytest.mark.parametrize("trim", [(), ("--trim",)], ids=["kept", "trimmed"])
def test_a_log_that_is_newer_than_the_restored_store_is_gone_on_with(
    stores: list[StoreServer], tmp_path: Path, trim: tuple[str, ...]
) -> None:
    """Nothing to do: the store's entries that it has already aren't written again."""
    [store], logs, backup = stores, tmp_path / "logs", tmp_path / "backup"
    with Service(tmp_path / "data", store) as service:
        first = service.reported(3)
        export(store, logs)
        back_up_store(store, backup)
        later = service.reported(3)
        export(store, logs, *trim)
        back_up_logs(logs, backup)
        destroy(service, store, logs)

    store = restored_store(backup, stores)
    _copy(backup / "logs", logs)
    with Service(tmp_path / "new", store) as service:
        after = service.reported(2)
        report = export(store, logs, "--trim")
        assert (report["decisions"], report["missed"]) == (2, 0)
    assert decisions_in(logs) == sorted([*first, *later, *after])
    assert sorted(rows(logs, "feedback")) == sorted([*first, *later, *after])


def test_a_log_that_is_older_than_the_restored_store_tells_what_it_lacks(
    stores: list[StoreServer], tmp_path: Path
) -> None:
    """What had been trimmed since is in neither; what hadn't is exported again, once."""
    [store], logs, backup = stores, tmp_path / "logs", tmp_path / "backup"
    with Service(tmp_path / "data", store) as service:
        first = service.reported(3)
        export(store, logs, "--trim")
        back_up_logs(logs, backup)
        lost = service.reported(2)
        export(store, logs, "--trim")
        held = service.reported(2)
        export(store, logs)
        back_up_store(store, backup)
        destroy(service, store, logs)

    store = restored_store(backup, stores)
    _copy(backup / "logs", logs)
    report = export(store, logs)
    assert report["decisions"] == len(held)
    assert report["missed"] == 2 * len(lost)  # a decision and its feedback each
    assert decisions_in(logs) == sorted([*first, *held])
    assert export(store, logs)["missed"] == 0


def test_a_store_that_isnt_the_logs_own_is_refused(
    stores: list[StoreServer], tmp_path: Path
) -> None:
    """As where the store came back empty: its events can't be told from the log's."""
    [store], logs = stores, tmp_path / "logs"
    with Service(tmp_path / "data", store) as service:
        service.reported(1)
        export(store, logs)
    with store.client() as client:
        client.flushall()
    with Service(tmp_path / "new", store) as service:
        service.reported(1)
    result = CliRunner().invoke(main, ["export", "--from", store.url, "--to", str(logs)])
    assert result.exit_code == 2
    assert "export to another directory" in result.stderr
    assert export(store, tmp_path / "another")["decisions"] == 1


def test_a_copy_taken_while_an_export_runs_waits_for_its_commit(
    store_url: str, tmp_path: Path
) -> None:
    """The lock is the one that the exporter holds."""
    from tests.event_factory import decision
    from tests.training.log.test_export import append
    from training.log.export import LogExport

    with redis.Redis.from_url(store_url) as client:
        append(client, [decision(1)])
        command = ["flock", "-n", str(tmp_path / "logs" / "export.lock"), "true"]
        with LogExport(client, tmp_path / "logs") as running:
            assert subprocess.run(command, check=False).returncode == 1
            running.run()
        assert subprocess.run(command, check=False).returncode == 0
