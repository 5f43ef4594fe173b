"""`promote`, `rollback` and `list` against a real store and replicas that report like services."""

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import redis
from click.testing import CliRunner, Result

from policies.arms import DEFAULT_ARMS, Arm
from policies.artifact import write_artifact
from policies.registries import ReplicaStatus
from policies.registries.redis_registry import RedisPolicyRegistry
from policies.rule_policy import RulePolicy
from tests.event_factory import NOON, decision, feedback
from tests.stores import StoreServer, wait_until
from tests.training.policy_command import PolicyCommand
from training.cli import main
from training.log.log_files import decisions_table, feedback_table, write_part

ARMS = [arm.name for arm in DEFAULT_ARMS]


class Replica:
    """A service's watcher in short: takes each generation, or refuses it, and reports."""

    def __init__(self, url: str, name: str, *, arms: Sequence[str] = ARMS, broken: bool = False):
        self.name = name
        self._arms = list(arms)
        self._broken = broken
        self._client = redis.Redis.from_url(url)
        self._registry = RedisPolicyRegistry(self._client)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def report(self, *, generation: int | None = None) -> None:
        active = self._registry.active()
        refused = "it is damaged" if self._broken and active is not None else None
        status = ReplicaStatus(
            replica=self.name,
            version="rules" if active is None or refused else active.version,
            generation=self._registry.generation() if generation is None else generation,
            arms=self._arms,
            feature_version="test-1",
            at=0.0,
            refused=refused,
        )
        self._registry.report_replica(status)

    def start(self) -> None:
        self.report()
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.report()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._client.close()


@pytest.fixture
def replicas(valkey_url: str) -> Iterator[list[Replica]]:
    """Two replicas on one store."""
    running = [Replica(valkey_url, "one"), Replica(valkey_url, "two")]
    for replica in running:
        replica.start()
    yield running
    for replica in running:
        replica.stop()


@pytest.fixture
def policies(tmp_path: Path) -> list[Path]:
    """Two policies that fit the default arms."""
    directories = []
    for index in (1, 2):
        arms = [Arm(arm.name, arm.route, {"quality": 0.1 * index}) for arm in DEFAULT_ARMS]
        write_artifact(RulePolicy(arms).artifact(), tmp_path / f"policy-{index}")
        directories.append(tmp_path / f"policy-{index}")
    return directories


def version_of(directory: Path) -> str:
    return str(json.loads((directory / "manifest.json").read_text())["version"])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def write_log(
    directory: Path, rounds: int, *, retrieve: float = 0.9, version: str = "0123456789abcdef"
) -> None:
    """A log of uniform draws between two arms, where `retrieve` is right and `finetuned` wrong.

    `retrieve` is how often that is right, `version` the policy that draws.
    """
    draws = np.random.default_rng(0)
    decisions, values = [], []
    for number in range(rounds):
        arm = ("finetuned", "retrieve")[int(draws.integers(2))]
        features = draws.normal(size=32).astype("<f2").tobytes()
        made = msgspec.structs.replace(
            decision(number, at=NOON + number),
            arm=arm,
            policy_version=version,
            propensity=0.5,
            probabilities=[0.5, 0.5, 0.0],
            weights={"quality": 1.0},
            features=features,
            query_hash=f"{number:016x}",
        )
        decisions.append(made)
        right = draws.random() < (retrieve if arm == "retrieve" else 0.2)
        values.append(feedback(number, at=NOON + number, value=float(right)))
    write_part(decisions_table(decisions), directory, "decisions", "made")
    write_part(feedback_table(values), directory, "feedback", "made")


def write_policy(directory: Path, retrieve: float) -> None:
    """A policy that expects the same of every query, of `retrieve` as much as this."""
    arms = [
        Arm(arm.name, None, {"quality": retrieve if arm.name == "retrieve" else 0.2})
        for arm in DEFAULT_ARMS
    ]
    write_artifact(RulePolicy(arms).artifact(), directory)


def promote(url: str, directory: Path, *more: object) -> Result:
    return run("promote", "--policy", directory, "--store", url, "--override", "a test", *more)


def test_a_promotion_reaches_every_replica(
    valkey_url: str, replicas: list[Replica], policies: list[Path]
) -> None:
    """The command waits for both and says how long each took."""
    result = promote(valkey_url, policies[0])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"policy {version_of(policies[0])} is active\n"
    assert "replica one serves it after" in result.stderr
    assert "replica two serves it after" in result.stderr


def test_a_policy_proven_better_is_promoted(
    valkey_url: str, replicas: list[Replica], tmp_path: Path
) -> None:
    """The verdict's conditions are shown, and part of the JSON answer."""
    write_log(tmp_path / "logs", 4_000)
    write_policy(tmp_path / "good", 0.9)
    arguments = ["--policy", tmp_path / "good", "--logs", tmp_path / "logs", "--store", valkey_url]
    result = run("promote", *arguments, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["verdict"]["promote"] is True
    assert answer["activation"]["note"] == ""
    assert "passed  advantage" in result.stderr


def test_a_policy_not_proven_better_is_refused_by_condition(
    valkey_url: str, tmp_path: Path
) -> None:
    """Each failed condition is named; nothing changes; an override still promotes it."""
    write_log(tmp_path / "logs", 1_500)
    write_policy(tmp_path / "bad", 0.0)
    arguments = ["--policy", tmp_path / "bad", "--logs", tmp_path / "logs", "--store", valkey_url]
    result = run("promote", *arguments, "--objective", '{"quality": 1}')
    assert result.exit_code == 1
    *lines, last = result.stderr.splitlines()
    assert last.startswith("Error: not promoted, because these conditions failed: advantage")
    assert any(line.startswith("FAILED  guardrail quality: -0.") for line in lines)
    machine = run("promote", *arguments, "--json")
    assert machine.exit_code == 1
    answer = json.loads(machine.stdout)
    assert (answer["activation"], answer["verdict"]["promote"]) == (None, False)
    assert json.loads(run("list", "--store", valkey_url, "--json").stdout)["active"] is None
    overridden = run("promote", *arguments, "--override", "on purpose")
    assert overridden.exit_code == 0
    assert "FAILED  advantage" in overridden.stderr
    assert "the gate is overridden: on purpose" in overridden.stderr


def test_a_log_of_a_policy_that_was_rolled_back_is_refused_without_a_look(
    valkey_url: str, policies: list[Path], tmp_path: Path
) -> None:
    """The built-in rules serve, and it says nothing of what they do; an override still promotes."""
    taken_back = version_of(policies[0])
    write_log(tmp_path / "logs", 1_500, version=taken_back)
    write_policy(tmp_path / "good", 0.9)
    promote(valkey_url, policies[0])
    run("rollback", "--store", valkey_url)
    arguments = ["--policy", tmp_path / "good", "--logs", tmp_path / "logs", "--store", valkey_url]
    result = run("promote", *arguments)
    assert result.exit_code == 1
    assert f"the log ends with decisions of {taken_back}, but the built-in rules" in result.stderr
    with redis.Redis.from_url(valkey_url) as client:
        assert RedisPolicyRegistry(client).looks(taken_back) == []
    assert run("promote", *arguments, "--override", "on purpose").exit_code == 0


def test_a_log_too_small_to_judge_by_says_so(valkey_url: str, tmp_path: Path) -> None:
    """With about how much more is needed."""
    write_log(tmp_path / "logs", 10)
    write_policy(tmp_path / "good", 0.9)
    arguments = ["--policy", tmp_path / "good", "--logs", tmp_path / "logs", "--store", valkey_url]
    result = run("promote", *arguments)
    assert result.exit_code == 1
    assert "unseen rounds" in result.stderr
    missing = run("promote", *arguments[:3], tmp_path / "nowhere", "--store", valkey_url)
    assert missing.exit_code == 2
    assert "no such log directory" in missing.stderr


def test_an_override_is_recorded_with_who_and_why(
    valkey_url: str, replicas: list[Replica], policies: list[Path]
) -> None:
    """In the activation, for everyone to read."""
    result = promote(valkey_url, policies[0], "--by", "ann", "--json")
    answer = json.loads(result.stdout)
    assert answer["version"] == version_of(policies[0])
    assert answer["activation"]["by"] == "ann"
    assert answer["activation"]["note"] == "override: a test"
    assert [swap["replica"] for swap in answer["replicas"]] == ["one", "two"]


def test_a_rollback_restores_what_served_before(
    valkey_url: str, replicas: list[Replica], policies: list[Path]
) -> None:
    """First the earlier policy, then the built-in rules, then there is nothing left."""
    promote(valkey_url, policies[0])
    promote(valkey_url, policies[1])
    first = run("rollback", "--store", valkey_url)
    assert (first.exit_code, first.stdout) == (
        0,
        f"policy {version_of(policies[0])} is active again\n",
    )
    second = run("rollback", "--store", valkey_url, "--json")
    assert json.loads(second.stdout)["active"] is None
    third = run("rollback", "--store", valkey_url)
    assert third.exit_code == 1
    assert third.stderr == ("Error: nothing to roll back to: the built-in rules serve already\n")


def test_the_list_shows_policies_activations_and_replicas(
    valkey_url: str, replicas: list[Replica], policies: list[Path]
) -> None:
    """For people and for machines."""
    promote(valkey_url, policies[0])
    promote(valkey_url, policies[1])
    listing = json.loads(run("list", "--store", valkey_url, "--json").stdout)
    versions = [version_of(directory) for directory in policies]
    assert {policy["version"] for policy in listing["policies"]} == set(versions)
    assert [activation["version"] for activation in listing["activations"]] == versions
    assert listing["active"]["version"] == versions[1]
    assert [replica["replica"] for replica in listing["replicas"]] == ["one", "two"]
    shown = run("list", "--store", valkey_url)
    assert shown.exit_code == 0
    assert versions[0] in shown.stdout
    assert "active" in shown.stdout


def test_a_policy_that_doesnt_fit_a_replica_is_refused(
    valkey_url: str, policies: list[Path]
) -> None:
    """Before anything changes, by the replica's name and the missing arm's."""
    other = Replica(valkey_url, "other", arms=[*ARMS, "deep_search"])
    other.start()
    result = promote(valkey_url, policies[0])
    other.stop()
    assert result.exit_code == 1
    assert "replica other can't serve it" in result.stderr
    assert "deep_search" in result.stderr
    assert json.loads(run("list", "--store", valkey_url, "--json").stdout)["generation"] == 0


def test_a_replica_that_refuses_is_named_with_its_reason(
    valkey_url: str, policies: list[Path]
) -> None:
    """The policy is active all the same, so the exit status says that not all is well."""
    broken = Replica(valkey_url, "broken", broken=True)
    broken.start()
    result = promote(valkey_url, policies[0])
    broken.stop()
    assert result.exit_code == 1
    assert "but not everywhere: broken keeps its incumbent: it is damaged" in result.stderr


def test_a_replica_that_says_nothing_is_named(valkey_url: str, policies: list[Path]) -> None:
    """After the wait that was asked for."""
    silent = Replica(valkey_url, "silent")
    silent.report(generation=0)
    result = promote(valkey_url, policies[0], "--wait", "0.05")
    silent.stop()
    assert result.exit_code == 1
    assert "silent didn't report within 0.05 s" in result.stderr


@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_a_store_that_drops_after_the_change_doesnt_make_it_a_failure(
    valkey_server: StoreServer, policies: list[Path], tmp_path: Path, command: str
) -> None:
    """Who repeats a rollback that seems to have failed would go one policy too far."""
    url = valkey_server.url
    before = version_of(policies[0]) if command == "rollback" else None
    for directory in policies if command == "rollback" else []:
        promote(url, directory)
    given = ["--policy", policies[1], "--override", "x"] if command == "promote" else []
    with redis.Redis.from_url(url) as client:
        registry = RedisPolicyRegistry(client)
        status = ReplicaStatus(
            replica="silent", version="rules", generation=0, arms=ARMS, feature_version="", at=0.0
        )
        registry.report_replica(status, expires_s=600.0)
        stood = registry.generation()
        arguments = [command, *given, "--store", url, "--wait", 60, "--json"]
        with PolicyCommand(tmp_path, *arguments) as running:
            wait_until(lambda: registry.generation() > stood)
            valkey_server.kill()
            assert running.process.wait(timeout=60) == 0, running.stderr
            answer = json.loads(running.stdout)
    assert "done, but the replicas couldn't be asked: " in running.stderr
    [swap] = answer["replicas"]
    assert (swap["replica"], swap["seconds"], swap["problem"]) == ("silent", None, None)
    assert swap["unasked"]
    stands = answer["activation" if command == "promote" else "active"]
    assert stands["version"] == (before or version_of(policies[1]))


def test_without_replicas_the_next_to_start_will_serve_it(
    valkey_url: str, policies: list[Path]
) -> None:
    """Promoting before the first start is no error."""
    result = promote(valkey_url, policies[0])
    assert result.exit_code == 0
    assert "no replica runs" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "{policy}"], "give --logs to judge the policy by, or --override"),
        (["--policy", "{policy}", "--override", " "], "--override needs a reason"),
        (["--policy", "missing", "--override", "x"], "no policy at missing"),
        (["--policy", "{policy}", "--override", "x", "--store", "gone"], "no service runs on gone"),
        (["--policy", "{policy}", "--override", "x", "--store", "ftp://x"], "is no store's URL"),
        (["--override", "x"], "Missing option '--policy'"),
        (["--policy", "{policy}", "--override", "x", "--wait", "-1"], "--wait"),
    ],
)
def test_wrong_use_exits_with_2_and_one_line(
    policies: list[Path], arguments: list[str], message: str
) -> None:
    """Naming what is wrong and what to do; never a traceback."""
    result = run("promote", *(word.format(policy=policies[0]) for word in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_an_altered_policy_is_refused(valkey_url: str, policies: list[Path]) -> None:
    """By its hash, before it gets near the store."""
    manifest = policies[0] / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"rules"', '"ruled"', 1))
    result = promote(valkey_url, policies[0])
    assert result.exit_code == 2
    assert "altered" in result.stderr


@pytest.mark.parametrize("command", ["promote", "rollback", "list", "export"])
def test_help_has_examples(command: str) -> None:
    """And needs no store."""
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"rag-policy {command}" in result.stdout


def test_export_says_what_it_wrote(valkey_url: str, tmp_path: Path) -> None:
    """Rows by kind, as text or JSON; then that nothing is new."""
    from tests.training.log.test_export import append

    empty = run("export", "--from", valkey_url, "--to", tmp_path / "logs")
    assert empty.exit_code == 2
    assert "the store has never had a decision" in empty.stderr
    with redis.Redis.from_url(valkey_url) as client:
        append(client, [decision(1), feedback(1)])
    first = run("export", "--from", valkey_url, "--to", tmp_path / "logs")
    assert first.exit_code == 0
    assert "1 decisions, 0 answers and 1 feedback written to" in first.stdout
    again = run("export", "--from", valkey_url, "--to", tmp_path / "logs")
    assert (again.exit_code, again.stdout[:11]) == (0, "nothing new")
    report = json.loads(
        run("export", "--from", valkey_url, "--to", tmp_path / "more", "--trim", "--json").stdout
    )
    assert (report["decisions"], report["trimmed"]) == (1, 2)


def looks_of(url: str) -> list[str]:
    with redis.Redis.from_url(url) as client:
        return RedisPolicyRegistry(client).looks("0123456789abcdef")


def test_every_look_at_an_incumbent_is_counted_and_the_same_one_once(
    valkey_url: str, tmp_path: Path
) -> None:
    """Refused or not; a later look is tested at a smaller level, and the answer says which."""
    write_log(tmp_path / "logs", 1_500)
    for name, retrieve in (("bad", 0.0), ("worse", 0.1), ("good", 0.9)):
        write_policy(tmp_path / name, retrieve)

    def judged(name: str) -> tuple[int, float]:
        result = run(
            "promote", "--policy", tmp_path / name, "--logs", tmp_path / "logs",
            "--store", valkey_url, "--json",
        )  # fmt: skip
        verdict = json.loads(result.stdout)["verdict"]
        return verdict["look"], verdict["alpha"]

    assert judged("bad") == (1, 0.025)
    assert judged("worse") == (2, pytest.approx(0.05 / 6))
    assert judged("bad") == (1, 0.025)
    number, _ = judged("good")
    assert number == 3
    assert len(looks_of(valkey_url)) == 3


def test_a_log_that_says_nothing_takes_no_look(valkey_url: str, tmp_path: Path) -> None:
    """Nothing was learned of the candidate, so no alpha is spent on it."""
    write_log(tmp_path / "logs", 10)
    write_policy(tmp_path / "good", 0.9)
    run(
        "promote", "--policy", tmp_path / "good", "--logs", tmp_path / "logs",
        "--store", valkey_url,
    )  # fmt: skip
    assert looks_of(valkey_url) == []


def test_evaluating_records_no_look_and_says_what_the_gate_would(
    valkey_url: str, tmp_path: Path
) -> None:
    """With intervals, slices and overlap; one tenant alone where that is asked for."""
    write_log(tmp_path / "logs", 1_500)
    write_policy(tmp_path / "good", 0.9)
    arguments = ["evaluate", "--policy", tmp_path / "good", "--logs", tmp_path / "logs"]
    report = json.loads(run(*arguments, "--look", 2, "--json").stdout)
    [part] = report["objectives"]
    assert part["gate"]["look"] == 2
    assert set(part["intervals"]) == {
        "dr_normal", "bootstrap_t", "empirical_bernstein", "anytime",
    }  # fmt: skip
    assert all(found["lower"] < found["upper"] for found in part["intervals"].values())
    assert [piece["by"] for piece in part["slices"]] == ["tenant", "audience", "beta"]
    assert 0.0 < part["overlap"]["common_mass"] < 1.0
    assert part["overlap"]["weight_quantiles"]["0.99"] > 0.0
    shown = run(*arguments)
    assert "as look 1 at this incumbent, one-sided at 2.50%" in " ".join(shown.stdout.split())
    unknown = run(*arguments, "--tenant", "nobody")
    assert unknown.exit_code != 0
    assert "no decision of the log is for tenant 'nobody'" in unknown.stderr
    assert looks_of(valkey_url) == []
