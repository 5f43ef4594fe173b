"""`promote --shadow`, `--canary`, `--from-canary`; what `rollback` and `list` make of them."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from policies.registries.redis_registry import RedisPolicyRegistry
from policies.rollout import WatchedMetric, WatchReport, WatchVerdict
from tests.training.test_promote_commands import (
    Replica,
    policies,
    promote,
    replicas,
    run,
    version_of,
    write_log,
    write_policy,
)

__all__ = ["policies", "replicas"]  # fixtures


@pytest.fixture
def registry(valkey_url: str) -> Iterator[RedisPolicyRegistry]:
    with redis.Redis.from_url(valkey_url) as client:
        yield RedisPolicyRegistry(client)


def told(registry: RedisPolicyRegistry, verdict: WatchVerdict) -> None:
    """What a watch would say of the present rollout."""
    rollout = registry.rollout()
    assert rollout is not None
    found = WatchedMetric(
        metric="quality", rounds=2_345, advantage=0.03, lower=0.01, upper=0.05, tolerance=0.01
    )
    report = WatchReport(key=rollout.key, at=time.time(), verdict=verdict, metrics=[found])
    assert registry.hold_watch("test", 60.0)
    assert registry.report_watch(report, "test", 60.0)


def test_a_shadow_needs_no_gate_and_changes_nothing(
    valkey_url: str,
    replicas: list[Replica],
    policies: list[Path],
    registry: RedisPolicyRegistry,
) -> None:
    """The active policy stays; every replica has followed when the command returns."""
    promote(valkey_url, policies[0])
    result = run(
        "promote", "--policy", policies[1], "--shadow", "--store", valkey_url, "--by", "ann"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == f"policy {version_of(policies[1])} is in shadow\n"
    assert "replica one logs what it would draw after" in result.stderr
    active, rollout = registry.active(), registry.rollout()
    assert active is not None
    assert rollout is not None
    assert active.version == version_of(policies[0])
    assert (rollout.version, rollout.share, rollout.by) == (version_of(policies[1]), 0.0, "ann")


def test_a_canary_passes_the_gate_first(
    valkey_url: str, tmp_path: Path, registry: RedisPolicyRegistry
) -> None:
    """It costs draws: a refusal leaves everything as it was, an override is recorded."""
    write_log(tmp_path / "logs", 4_000)
    write_policy(tmp_path / "good", 0.9)
    write_policy(tmp_path / "bad", 0.0)
    more = ["--logs", tmp_path / "logs", "--store", valkey_url, "--canary", "0.05"]
    refused = run("promote", "--policy", tmp_path / "bad", *more)
    assert refused.exit_code == 1
    assert "these conditions failed" in refused.stderr
    assert registry.rollout() is None
    passed = run("promote", "--policy", tmp_path / "good", *more, "--json")
    assert passed.exit_code == 0, passed.output
    answer = json.loads(passed.stdout)
    assert (answer["activation"], answer["rollout"]["share"]) == (None, 0.05)
    overridden = promote(valkey_url, tmp_path / "bad", "--canary", "0.01")
    assert overridden.exit_code == 0, overridden.output
    assert "in canary with 0.01 of the draws" in overridden.stdout
    rollout = registry.rollout()
    assert rollout is not None
    assert rollout.note == "override: a test"


def test_a_canary_that_the_watch_calls_ready_is_promoted_without_logs(
    valkey_url: str, policies: list[Path], registry: RedisPolicyRegistry
) -> None:
    """Not before, and only that policy; the figures are recorded."""
    full = ["promote", "--policy", policies[1], "--from-canary", "--store", valkey_url]
    none = run(*full)
    assert (none.exit_code, "is in no canary" in none.stderr) == (1, True)
    promote(valkey_url, policies[1], "--canary", "0.1")
    unseen = run(*full)
    assert (unseen.exit_code, "has not looked" in unseen.stderr) == (1, True)
    told(registry, "watching")
    early = run(*full)
    assert (early.exit_code, "calls the canary watching" in early.stderr) == (1, True)
    told(registry, "ready")
    other = run("promote", "--policy", policies[0], "--from-canary", "--store", valkey_url)
    assert other.exit_code == 1
    result = run(*full)
    assert result.exit_code == 0, result.output
    active = registry.active()
    assert active is not None
    assert active.version == version_of(policies[1])
    assert "quality +0.0300 (bounds +0.0100 and +0.0500) in 2345 rounds" in active.note
    assert registry.past_rollouts()[0].outcome == "promoted"


def test_a_rollback_ends_the_canary_before_it_touches_what_serves(
    valkey_url: str,
    replicas: list[Replica],
    policies: list[Path],
    registry: RedisPolicyRegistry,
) -> None:
    promote(valkey_url, policies[0])
    promote(valkey_url, policies[1], "--canary", "0.1")
    first = run("rollback", "--store", valkey_url, "--note", "complaints", "--json")
    assert first.exit_code == 0, first.output
    answer = json.loads(first.stdout)
    assert answer["active"]["version"] == version_of(policies[0])
    assert answer["ended"]["outcome"] == "rolled_back"
    assert answer["ended"]["note"] == "complaints"
    promote(valkey_url, policies[1], "--canary", "0.1")
    line = run("rollback", "--store", valkey_url).stdout
    assert line == f"policy {version_of(policies[1])} is no longer in canary\n"
    second = run("rollback", "--store", valkey_url)
    assert second.stdout == "the built-in rules serve again\n"


def test_the_list_shows_the_rollout_and_what_the_watch_says(
    valkey_url: str, policies: list[Path], registry: RedisPolicyRegistry
) -> None:
    """For people and for machines; afterwards how it ended."""
    promote(valkey_url, policies[0])
    promote(valkey_url, policies[1], "--canary", "0.1")
    told(registry, "watching")
    listing = json.loads(run("list", "--store", valkey_url, "--json").stdout)
    assert (listing["rollout"]["share"], listing["verdict"]) == (0.1, "watching")
    assert listing["watched"][0]["rounds"] == 2_345
    shown = " ".join(run("list", "--store", valkey_url).stdout.split())
    assert "in canary with 0.1 of the draws: watching: quality +0.0300" in shown
    rollout = registry.rollout()
    assert rollout is not None
    registry.end_rollout(rollout, by="rollout watch", note="[worse] by far")
    listing = json.loads(run("list", "--store", valkey_url, "--json").stdout)
    assert (listing["rollout"], listing["verdict"]) == (None, None)
    assert listing["past_rollouts"][0]["outcome"] == "rolled_back"
    shown = " ".join(run("list", "--store", valkey_url).stdout.split())
    assert "rolled_back rollout watch [worse] by far" in shown


def test_a_replica_that_leaves_the_candidate_out_is_named(
    valkey_url: str, policies: list[Path], registry: RedisPolicyRegistry
) -> None:
    """With its reason; the exit status says that not all is well."""
    replica = Replica(valkey_url, "stubborn")
    replica.report()
    [status] = registry.replicas()
    refusing = msgspec.structs.replace(status, generation=99, candidate_refused="it is damaged")
    registry.report_replica(refusing)
    result = promote(valkey_url, policies[0], "--canary", "0.1")
    replica.stop()
    assert result.exit_code == 1
    assert "stubborn leaves the candidate out: it is damaged" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--override", "x", "--canary", "1"], "share lies between 0 and 1"),
        (["--override", "x", "--canary", "-0.5"], "share lies between 0 and 1"),
        (["--override", "x", "--canary", "some"], "'some' is not a valid float"),
        (["--canary", "0.1"], "give --logs to judge the policy by, or --override"),
        (["--shadow", "--canary", "0.1"], "exclude each other"),
        (["--shadow", "--from-canary"], "exclude each other"),
        (["--from-canary", "--override", "x"], "leave --logs and --override"),
    ],
)
def test_wrong_use_exits_with_2_and_one_line(
    policies: list[Path], arguments: list[str], message: str
) -> None:
    result = run("promote", "--policy", policies[0], *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_the_active_policy_is_no_candidate(valkey_url: str, policies: list[Path]) -> None:
    promote(valkey_url, policies[0])
    result = run("promote", "--policy", policies[0], "--shadow", "--store", valkey_url)
    assert (result.exit_code, "is active already" in result.stderr) == (1, True)
