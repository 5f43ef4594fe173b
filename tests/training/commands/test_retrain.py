"""`rag-policy retrain` against a real store: promoted, refused, failed, repeated, stopped."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from policies.registries import ReplicaStatus
from policies.registries.redis_registry import RedisPolicyRegistry
from tests.stores import StoreServer, wait_until
from tests.training.policy_command import PolicyCommand
from tests.training.test_promote_commands import (
    ARMS,
    Replica,
    looks_of,
    promote,
    run,
    version_of,
    write_log,
    write_policy,
)
from training.cli import main
from training.commands.promotion_gate import gate_verdict
from training.judge.gate import Verdict

REPORT = {"policy", "train.json", "evaluate.json", "report.html", "verdict.json"}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that shows `retrieve` to be right."""
    directory = tmp_path_factory.mktemp("log") / "logs"
    write_log(directory, 5_000)
    return directory


@pytest.fixture(scope="module")
def equal_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which no arm is better."""
    directory = tmp_path_factory.mktemp("log") / "equal"
    write_log(directory, 5_000, retrieve=0.2)
    return directory


def retrain(url: str, logs: Path, reports: Path, *more: object) -> Result:
    arguments = ["--logs", logs, "--store", url, "--reports", reports, *more]
    return CliRunner().invoke(main, ["retrain", *map(str, arguments)])


def result_of(*arguments: Any) -> dict[str, Any]:
    """The JSON of a run that must end with status 0."""
    result = retrain(*arguments, "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def whole(reports: Path) -> list[Path]:
    """What is in the folder, its lock aside."""
    return sorted(path for path in reports.iterdir() if path.name != ".lock")


def report_once(url: str, name: str, arms: Sequence[str] = ARMS) -> None:
    """A replica that says nothing more, and isn't forgotten however long the training takes."""
    status = ReplicaStatus(
        replica=name, version="rules", generation=0, arms=[*arms], feature_version="test-1", at=0.0
    )
    with redis.Redis.from_url(url) as client:
        RedisPolicyRegistry(client).report_replica(status, expires_s=600.0)


def test_a_policy_proven_better_is_promoted_and_its_report_kept(
    valkey_url: str, logs: Path, tmp_path: Path
) -> None:
    """Replicas take it; the report's policy is the one that is active."""
    replica = Replica(valkey_url, "one")
    replica.start()
    answer = result_of(valkey_url, logs, tmp_path / "reports", "--holdout", 0.5)
    replica.stop()
    assert (answer["outcome"], answer["incumbent"]) == ("promoted", None)
    assert answer["verdict"]["promote"] is True
    [swap] = answer["replicas"]
    assert (swap["replica"], swap["problem"]) == ("one", None)
    [report] = whole(tmp_path / "reports")
    assert answer["report"] == str(report)
    assert {path.name for path in report.iterdir()} == REPORT
    assert json.loads((report / "verdict.json").read_text()) == answer
    trained = json.loads((report / "train.json").read_text())
    assert (trained["version"], trained["policy"]) == (answer["policy"], f"{report}/policy")
    evaluated = json.loads((report / "evaluate.json").read_text())
    assert evaluated["policy"] == answer["policy"]
    with redis.Redis.from_url(valkey_url) as client:
        active = RedisPolicyRegistry(client).active()
    assert active is not None
    assert (active.version, active.note) == (answer["policy"], f"retrained: {report.name}")


def test_a_refusal_is_no_failure_and_the_next_look_waits_for_new_decisions(
    valkey_url: str, equal_logs: Path, tmp_path: Path
) -> None:
    """Status 0, nothing changes, the gate's conditions are told; no second look on the same log."""
    logs, reports = equal_logs, tmp_path / "reports"
    first = retrain(valkey_url, logs, reports, "--holdout", 0.5)
    assert first.exit_code == 0, first.output
    assert first.stdout.startswith("refused: not proven better, because these conditions failed: ")
    assert "FAILED  advantage" in first.stderr
    assert len(looks_of(valkey_url)) == 1
    again = result_of(valkey_url, logs, reports, "--holdout", 0.5, "--keep", 1)
    assert again["reason"].startswith("too little is new: 0 decisions since")
    assert (again["more_decisions"], again["judged_decisions"]) == (1_000, 5_000)
    assert len(looks_of(valkey_url)) == 1
    assert len(whole(reports)) == 1  # the judged one is gone, what it said is not
    (reports / "29991231T000000.000Z").mkdir()
    (reports / "29991231T000000.000Z" / "verdict.json").write_text("{")
    third = retrain(valkey_url, logs, reports, "--holdout", 0.5)
    assert "too little is new: 0 decisions since" in third.stdout
    assert "verdict.json can't be read, an older report is asked" in third.stderr
    asked = result_of(valkey_url, logs, reports, "--holdout", 0.5, "--new-decisions", 0)
    assert asked["verdict"] is not None
    with redis.Redis.from_url(valkey_url) as client:
        assert RedisPolicyRegistry(client).activations() == []


@pytest.mark.parametrize("rolled_back", [False, True])
def test_a_log_of_another_policy_than_serves_is_refused_without_a_look(
    valkey_url: str, tmp_path: Path, rolled_back: bool
) -> None:
    """Whether another policy is active, or the one that drew it was taken back."""
    incumbent, logs = tmp_path / "incumbent", tmp_path / "logs"
    write_policy(incumbent, 0.9)
    version = version_of(incumbent)
    promote(valkey_url, incumbent)
    if rolled_back:
        assert run("rollback", "--store", valkey_url).exit_code == 0
    drew = version if rolled_back else "0123456789abcdef"
    write_log(logs, 5_000, version=drew)
    answer = result_of(valkey_url, logs, tmp_path / "reports", "--holdout", 0.5)
    assert answer["outcome"] == "refused"
    [condition] = answer["verdict"]["conditions"]
    assert condition["name"] == "incumbent"
    assert f"the log ends with decisions of {drew}, but " in condition["detail"]
    assert answer["judged_decisions"] is None
    with redis.Redis.from_url(valkey_url) as client:
        assert RedisPolicyRegistry(client).looks(drew) == []


@pytest.mark.parametrize("change", ["promote", "canary"])
def test_what_a_person_does_once_the_gate_has_passed_is_left_alone(
    valkey_url: str, logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The policy isn't made active, and the report says why."""
    mine = tmp_path / "mine"
    write_policy(mine, 0.7)

    def judged(*arguments: Any) -> Verdict:
        verdict = gate_verdict(*arguments)
        promote(valkey_url, mine, *(["--canary", "0.1"] if change == "canary" else []))
        return verdict

    monkeypatch.setattr("training.commands.retrain_run.gate_verdict", judged)
    answer = result_of(valkey_url, logs, tmp_path / "reports", "--holdout", 0.5)
    assert (answer["outcome"], answer["verdict"]["promote"]) == ("refused", True)
    assert "or a rollout was begun meanwhile: nothing is changed" in answer["reason"]
    [report] = whole(tmp_path / "reports")
    assert json.loads((report / "verdict.json").read_text()) == answer
    with redis.Redis.from_url(valkey_url) as client:
        registry = RedisPolicyRegistry(client)
        stands = registry.rollout() if change == "canary" else registry.active()
        assert stands is not None
        assert stands.version == version_of(mine)
        assert (registry.active() is None) == (change == "canary")


def test_a_run_that_fails_after_its_look_keeps_what_the_next_must_know(
    valkey_server: StoreServer, logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the next one spends no other look on the same decisions."""

    def judged(*arguments: Any) -> Verdict:
        verdict = gate_verdict(*arguments)
        valkey_server.kill()
        return verdict

    monkeypatch.setattr("training.commands.retrain_run.gate_verdict", judged)
    failed = retrain(valkey_server.url, logs, tmp_path / "reports", "--holdout", 0.5)
    assert failed.exit_code == 1, failed.output
    [report] = whole(tmp_path / "reports")
    assert {path.name for path in report.iterdir()} == REPORT
    verdict = json.loads((report / "verdict.json").read_text())
    assert (verdict["outcome"], verdict["judged_decisions"]) == ("failed", 5_000)
    valkey_server.start()
    again = result_of(valkey_server.url, logs, tmp_path / "reports", "--holdout", 0.5)
    assert again["reason"].startswith("too little is new: 0 decisions since")


def test_too_little_data_is_a_refusal_that_says_how_much_more(
    valkey_url: str, logs: Path, tmp_path: Path
) -> None:
    """Where nothing is left to judge by, where nothing can be learned, where there is no log yet;
    no look is taken.
    """
    small = result_of(valkey_url, logs, tmp_path / "reports")
    assert (small["outcome"], small["more_decisions"]) == ("refused", 1_667)
    assert "about 1,667 more are needed" in small["reason"]
    write_log(tmp_path / "few", 10)
    few = result_of(valkey_url, tmp_path / "few", tmp_path / "reports")
    assert "10 of 10 logged decisions can be learned from; at least 50 are needed" in few["reason"]
    (tmp_path / "empty").mkdir()
    none = result_of(valkey_url, tmp_path / "empty", tmp_path / "reports")
    assert "the log holds no decision yet" in none["reason"]
    assert [found["outcome"] for found in (few, none)] == ["refused", "refused"]
    assert len(whole(tmp_path / "reports")) == 3
    assert looks_of(valkey_url) == []


def test_a_candidate_in_canary_is_left_alone(valkey_url: str, logs: Path, tmp_path: Path) -> None:
    """Promoting would end its rollout."""
    write_policy(tmp_path / "candidate", 0.9)
    promote(valkey_url, tmp_path / "candidate", "--canary", "0.1")
    answer = result_of(valkey_url, logs, tmp_path / "reports", "--holdout", 0.5)
    assert answer["outcome"] == "refused"
    assert "is in canary with 0.1 of the draws" in answer["reason"]
    with redis.Redis.from_url(valkey_url) as client:
        assert RedisPolicyRegistry(client).rollout() is not None


def test_a_policy_that_a_replica_cant_serve_is_refused(
    valkey_url: str, logs: Path, tmp_path: Path
) -> None:
    """By that replica's name, and without a look."""
    report_once(valkey_url, "other", ["finetuned", "deep_search"])
    answer = result_of(valkey_url, logs, tmp_path / "reports", "--holdout", 0.5)
    assert answer["outcome"] == "refused"
    assert "replica other can't serve it" in answer["reason"]
    assert looks_of(valkey_url) == []


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--store", "redis://127.0.0.1:1/0"], 1, "can't be used"),
        (["--logs", "nowhere"], 2, "no such log directory"),
        (["--objective", "cheapest"], 2, "cheapest"),
        (["--every", "often"], 2, "is no duration above 0"),
        (["--holdout", "0"], 2, "--holdout"),
        (["--holdout", "nan"], 2, "nan is no number between 0 and 1"),
        (["--reports", "s3://bucket/reports"], 2, "is no local directory"),
        (["--store", "redis://127.0.0.1:1/0?socket_timeout=abc"], 2, "?socket_timeout"),
        (["--store", "redis://127.0.0.1:1/0?foo=1"], 2, "isn't known"),
        (["--reports", "/proc/nowhere"], 2, "name another with --reports"),
    ],
)
def test_what_fails_says_why_and_keeps_nothing(
    valkey_url: str, logs: Path, tmp_path: Path, options: list[str], status: int, message: str
) -> None:
    result = retrain(valkey_url, logs, tmp_path / "reports", *options)
    assert result.exit_code == status, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "reports").exists() or whole(tmp_path / "reports") == []


def test_every_run_is_told_and_a_failed_one_is_followed_by_the_next(
    valkey_server: StoreServer, logs: Path, tmp_path: Path
) -> None:
    """The oldest reports go; a signal between two runs ends it with status 0."""
    arguments = ["--logs", logs, "--store", valkey_server.url, "--reports", tmp_path / "reports"]
    valkey_server.kill()
    with PolicyCommand(
        tmp_path, "retrain", *arguments, "--every", "0.2s", "--keep", 2, "--json"
    ) as command:
        command.wait_for("the next run is due as planned", times=2)
        assert command.stdout == ""
        valkey_server.start()
        command.wait_for('"outcome":"refused"', times=5, timeout_s=120.0)
        assert command.stop() == 0
    assert 2 <= len(whole(tmp_path / "reports")) <= 3  # it may be stopped before the oldest goes
    assert "Traceback" not in command.stderr


def test_a_schedule_whose_reader_has_left_ends(valkey_url: str, logs: Path, tmp_path: Path) -> None:
    """It is no failed run that another one follows."""
    arguments = ["--logs", logs, "--store", valkey_url, "--reports", tmp_path / "reports"]
    words = ["retrain", *map(str, arguments), "--every", "1d"]
    with (tmp_path / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "training.cli", *words], stdout=subprocess.PIPE, stderr=err
        )
        assert process.stdout is not None
        process.stdout.close()
        try:
            assert process.wait(timeout=90) == 1
        finally:
            process.kill()
    assert "the next run is due" not in (tmp_path / "stderr").read_text()
    assert len(whole(tmp_path / "reports")) == 1


@pytest.mark.parametrize(
    ("every", "status"), [([], 143), (["--every", "1d"], 0)], ids=["once", "every"]
)
def test_a_run_that_is_stopped_keeps_nothing(
    valkey_url: str, logs: Path, tmp_path: Path, every: list[str], status: int
) -> None:
    """And what a killed one left is removed by the next."""
    arguments = ["--logs", logs, "--store", valkey_url, "--reports", tmp_path / "reports"]
    with PolicyCommand(tmp_path, "retrain", *arguments, "--holdout", 0.5, *every) as command:
        wait_until(lambda: list(tmp_path.glob("reports/.*.unfinished/train.json")), timeout_s=90.0)
        assert command.stop(signal.SIGTERM) == status
    assert whole(tmp_path / "reports") == []
    left = tmp_path / "reports" / ".20261122T120000.000Z.unfinished"
    left.mkdir()
    (left / "verdict.json").write_text("{")
    assert result_of(valkey_url, logs, tmp_path / "reports")["outcome"] == "refused"
    assert len(whole(tmp_path / "reports")) == 1


@pytest.mark.parametrize("lost", ["signals", "store"])
def test_a_promotion_ends_with_its_report_whatever_comes(
    valkey_server: StoreServer, logs: Path, tmp_path: Path, lost: str
) -> None:
    """A policy never serves without a report that says why: neither signals nor the store's end
    keep it from being finished, and it is in its place before.
    """
    url, wait_s = valkey_server.url, 2 if lost == "signals" else 60
    report_once(url, "silent")
    arguments = ["--logs", logs, "--store", url, "--reports", tmp_path / "reports"]
    with (
        redis.Redis.from_url(url) as client,
        PolicyCommand(
            tmp_path, "retrain", *arguments, "--holdout", 0.5, "--wait", wait_s, "--json"
        ) as command,
    ):
        registry = RedisPolicyRegistry(client)
        wait_until(registry.active, timeout_s=90.0)
        active = registry.active()
        [report] = whole(tmp_path / "reports")
        assert {path.name for path in report.iterdir() if path.name[0] != "."} == REPORT
        if lost == "store":
            valkey_server.kill()
        else:
            command.process.send_signal(signal.SIGTERM)
            command.process.send_signal(signal.SIGINT)
            command.process.send_signal(signal.SIGTERM)
        assert command.process.wait(timeout=60) == 0, command.stderr
    verdict = json.loads((report / "verdict.json").read_text())
    assert verdict == json.loads(command.stdout)
    assert active is not None
    assert (verdict["outcome"], verdict["policy"]) == ("promoted", active.version)
    said = {"signals": "silent didn't report within 2 s", "store": "replicas couldn't be asked"}
    assert said[lost] in command.stderr


def test_two_runs_dont_share_a_folder_of_reports(
    valkey_url: str, logs: Path, tmp_path: Path
) -> None:
    from training.report_folders import ReportFolders

    with ReportFolders(tmp_path).one_run():
        result = retrain(valkey_url, logs, tmp_path)
    assert result.exit_code == 1
    assert "another run writes its report to" in result.stderr
