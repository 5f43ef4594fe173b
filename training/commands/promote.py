"""`rag-policy promote`, `rollback` and `list`: which policy serves."""

import getpass
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from policies.artifact import Manifest, read_artifact
from policies.errors import PolicyFitError, RollbackError
from policies.loading import load_policy
from policies.policy import Policy
from policies.registries import Activation, PolicyRegistry, ReplicaStatus
from policies.registries.redis_registry import RedisPolicyRegistry
from policies.settings import read_policy_settings
from policies.store_keys import DEFAULT_PREFIX
from training.commands.options import (
    config_option,
    directory_option,
    json_option,
    resolve_objective_option,
)
from training.errors import FailedOutcome
from training.log.store import DEFAULT_LOCATION, connect, store_errors
from training.progress import note, progress
from training.rollout import ReplicaSwap, require_fit, wait_for_replicas

if TYPE_CHECKING:  # it takes scikit-learn, which only judging needs
    from training.judge.gate import Verdict

Command = TypeVar("Command", bound=Callable[..., Any])


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """What `promote` did: the policy, what the gate said of it, and how the replicas took it.

    `activation` is None where the gate refused.
    """

    version: str
    activation: Activation | None
    overridden: str | None
    verdict: "Verdict | None"
    replicas: list[ReplicaSwap] = []


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """What `rollback` did; `active` is None where the built-in rules serve again."""

    active: Activation | None
    replicas: list[ReplicaSwap]


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows: policies, activations (the active one last), running replicas."""

    active: Activation | None
    generation: int
    policies: list[Manifest]
    activations: list[Activation]
    replicas: list[ReplicaStatus]


def store_options(command: Command) -> Command:
    """`--store` and `--prefix`."""
    command = click.option(
        "--prefix", default=DEFAULT_PREFIX, show_default=True, help="As in redis.prefix."
    )(command)
    return click.option(
        "--store",
        "location",
        default=DEFAULT_LOCATION,
        show_default=True,
        metavar="URL|DIR",
        help="redis://, rediss:// or unix://, or a running service's data directory.",
    )(command)


by_option = click.option("--by", help="Who does it, for the audit trail.  [default: you]")
wait_option = click.option(
    "--wait",
    "wait_s",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0.0),
    help="Seconds to wait until every running replica serves it.",
)


@click.command()
@directory_option("--policy", "directory", required=True, help="The policy to promote.")
@directory_option("--logs", help="The exported log to judge it by; needed unless overridden.")
@click.option("--objective", help="A name, or weights as JSON.  [default: as each decision had it]")
@config_option
@store_options
@by_option
@click.option("--override", metavar="REASON", help="Promote whatever the gate says; recorded.")
@wait_option
@json_option
def promote(
    directory: Path,
    logs: Path | None,
    objective: str | None,
    config: Path | None,
    location: str,
    prefix: str,
    by: str | None,
    override: str | None,
    wait_s: float,
    as_json: bool,
) -> None:
    """Judge a policy on a log and, if it is better than what serves, make every replica serve it.

    Exits with status 1, naming each condition that failed, where it isn't shown to be better, or
    where a running replica can't serve it.

    \b
    Examples:
      rag-policy promote --policy policy/ --logs logs/
      rag-policy promote --policy policy/ --store redis://store:6379 --override "first rollout"
    """
    if override is not None and not override.strip():
        raise click.UsageError("--override needs a reason")
    if logs is None and override is None:
        raise click.UsageError("give --logs to judge the policy by, or --override with a reason")
    artifact = read_artifact(directory)
    policy = load_policy(artifact)
    with _registry(location, prefix) as registry:
        replicas = registry.replicas()
        try:
            require_fit(policy, replicas)
        except PolicyFitError as error:
            raise FailedOutcome(f"not promoted: {error}") from error
        active = registry.active()
        if active is not None and active.version == artifact.version:
            raise FailedOutcome(f"policy {artifact.version} is active already")
        verdict = (
            None if logs is None else _judge(policy, logs, objective, config, registry, active)
        )
        if verdict is not None:
            _require_passed(artifact.version, verdict, override, as_json)
        registry.publish(artifact)
        activation = registry.activate(
            artifact.version, by=by or _user(), note=f"override: {override}" if override else ""
        )
        swaps = _await(registry, replicas, wait_s)
    result = Promotion(
        version=artifact.version,
        activation=activation,
        overridden=override,
        verdict=verdict,
        replicas=swaps,
    )
    _answer(result, f"policy {artifact.version} is active", as_json)


@click.command()
@store_options
@by_option
@click.option("--note", "why", default="", help="Why, for the audit trail.")
@wait_option
@json_option
def rollback(
    location: str, prefix: str, by: str | None, why: str, wait_s: float, as_json: bool
) -> None:
    """Take back the last promotion: the policy before it, or the built-in rules, serve again.

    \b
    Examples:
      rag-policy rollback
      rag-policy rollback --store redis://store:6379 --by ann --note "complaints since noon"
    """
    with _registry(location, prefix) as registry:
        replicas = registry.replicas()
        try:
            active = registry.rollback(by=by or _user(), note=why)
        except RollbackError as error:
            raise FailedOutcome(str(error)) from error
        swaps = _await(registry, replicas, wait_s)
    serves = "the built-in rules serve" if active is None else f"policy {active.version} is active"
    _answer(Rollback(active=active, replicas=swaps), f"{serves} again", as_json)


@click.command("list")
@store_options
@json_option
def list_policies(location: str, prefix: str, as_json: bool) -> None:
    """List the stored policies, which one is active, what came before it, and who serves what.

    \b
    Examples:
      rag-policy list
      rag-policy list --store redis://store:6379 --json
    """
    with _registry(location, prefix) as registry:
        listing = Listing(
            active=registry.active(),
            generation=registry.generation(),
            policies=registry.manifests(),
            activations=registry.activations(),
            replicas=registry.replicas(),
        )
    if as_json:
        click.echo(msgspec.json.encode(listing))
    else:
        _show(listing)


def _judge(
    policy: Policy,
    logs: Path,
    objective: str | None,
    config: Path | None,
    registry: PolicyRegistry,
    active: Activation | None,
) -> "Verdict":
    from policies.exploration import Exploration
    from training.judge.gate import judge_unseen, require_incumbent
    from training.judge.judged_policy import unseen
    from training.judge.looks import family, look_of
    from training.log.join import join_rounds
    from training.log.log_files import read_log

    settings = read_policy_settings(config)
    weights = None if objective is None else resolve_objective_option(objective, settings).weights
    with progress("judging"):
        rounds = join_rounds(
            read_log(logs),
            source=logs,
            arms=policy.arms,
            feature_version=policy.feature_version or None,
        )
        mine = unseen(rounds, policy)
        exploration = settings.exploration or Exploration()
        number = 1
        if mine.enough:
            # Recorded before anything is known of the outcome, so that no refusal goes uncounted.
            incumbent = family(str(mine.rounds.policy_versions[-1]))
            look = look_of(mine.rounds, policy, weights, exploration)
            number = registry.record_look(incumbent, look)
        verdict = judge_unseen(mine, policy, weights, exploration, look=number)
    if active is not None:
        verdict = require_incumbent(verdict, str(rounds.policy_versions[-1]), active.version)
    return verdict


def _require_passed(version: str, verdict: "Verdict", override: str | None, as_json: bool) -> None:
    """Say how each condition stands; a gate that refuses ends the command unless overridden."""
    note(
        f"look {verdict.look} at this incumbent: proven means one-sided at {verdict.alpha:.2%}, so "
        "that all looks together promote without gain at most once in twenty"
    )
    for condition in verdict.conditions:
        if condition.passed:
            note(f"passed  {condition.name}: {condition.detail}")
    for refusal in verdict.refusals():
        note(f"FAILED  {refusal}")
    if verdict.promote:
        return
    if override is not None:
        note(f"the gate is overridden: {override}")
        return
    if as_json:
        refused = Promotion(version=version, activation=None, overridden=None, verdict=verdict)
        click.echo(msgspec.json.encode(refused))
    failed = [condition.name for condition in verdict.conditions if not condition.passed]
    raise FailedOutcome(f"not promoted, because these conditions failed: {', '.join(failed)}")


@contextmanager
def _registry(location: str, prefix: str) -> Iterator[PolicyRegistry]:
    with store_errors(location), connect(location) as client:
        yield RedisPolicyRegistry(client, prefix=prefix)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""  # a container's user needs no name


def _await(
    registry: PolicyRegistry, replicas: Sequence[ReplicaStatus], wait_s: float
) -> list[ReplicaSwap]:
    swaps = wait_for_replicas(registry, replicas, registry.generation(), wait_s)
    for swap in swaps:
        took = swap.problem or f"serves it after {swap.seconds:.2f} s"
        note(f"replica {swap.replica} {took}")
    if not swaps:
        note("no replica runs: the next to start will serve it")
    return swaps


def _answer(result: Promotion | Rollback, line: str, as_json: bool) -> None:
    click.echo(msgspec.json.encode(result) if as_json else line)
    problems = [f"{swap.replica} {swap.problem}" for swap in result.replicas if swap.problem]
    if problems:
        raise FailedOutcome(f"{line}, but not everywhere: {'; '.join(problems)}")


def _show(listing: Listing) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    policies = Table("version", "name", "made", "metrics", "", title="Policies")
    for manifest in listing.policies:
        active = listing.active is not None and manifest.version == listing.active.version
        policies.add_row(
            manifest.version,
            manifest.name,
            manifest.created_at,
            ", ".join(manifest.metrics),
            "active" if active else "",
        )
    console.print(policies)
    activations = Table("version", "since", "by", "note", title="Activations, the active one first")
    for activation in reversed(listing.activations):
        since = datetime.fromtimestamp(activation.at, UTC).isoformat(" ", "seconds")
        activations.add_row(activation.version, since, activation.by, activation.note)
    activations.add_row("built-in rules", "", "", "")
    console.print(activations)
    replicas = Table("replica", "serves", "reported", "refused", title="Replicas")
    for replica in listing.replicas:
        ago = f"{max(0.0, time.time() - replica.at):.0f} s ago"
        replicas.add_row(replica.replica, replica.version, ago, replica.refused or "")
    console.print(replicas)
