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
from policies.errors import PolicyFitError, RollbackError, RolloutChangedError
from policies.loading import load_policy
from policies.policy import Policy
from policies.registries import Activation, PolicyRegistry, ReplicaStatus
from policies.registries.redis_registry import RedisPolicyRegistry
from policies.rollout import EndedRollout, Rollout, WatchedMetric, WatchVerdict
from policies.settings import read_policy_settings
from policies.store_keys import DEFAULT_PREFIX
from training.commands.options import (
    config_option,
    directory_option,
    json_option,
    log_option,
    resolve_objective_option,
)
from training.commands.rollout_options import (
    check_rollout_options,
    evidence_of_canary,
    figures_of,
    rollout_options,
)
from training.commands.store_options import secret_options
from training.errors import FailedOutcome
from training.log.store import DEFAULT_LOCATION, LOCATION_HELP, Secrets, connect, store_errors
from training.progress import note, progress
from training.rollout import ReplicaSwap, require_fit, wait_for_replicas

if TYPE_CHECKING:  # it takes scikit-learn, which only judging needs
    from training.judge.gate import Verdict
    from training.log.log_folder import LogPlace

Command = TypeVar("Command", bound=Callable[..., Any])


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """What `promote` did: the policy, what the gate said of it, and how the replicas took it.

    `activation` is None where the gate refused, and where the policy is but a candidate: then
    `rollout` says in which stage.
    """

    version: str
    activation: Activation | None
    overridden: str | None
    verdict: "Verdict | None"
    replicas: list[ReplicaSwap] = []
    rollout: Rollout | None = None


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """What `rollback` did; `active` is None where the built-in rules serve.

    `ended` is the rollout that it ended in place of an activation.
    """

    active: Activation | None
    replicas: list[ReplicaSwap]
    ended: EndedRollout | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows: policies, activations (the active one last), running replicas.

    `rollout` is the candidate in shadow or canary, `verdict` and `watched` what the watch says of
    it, `past_rollouts` those that ended, the latest first.
    """

    active: Activation | None
    generation: int
    policies: list[Manifest]
    activations: list[Activation]
    replicas: list[ReplicaStatus]
    rollout: Rollout | None = None
    verdict: WatchVerdict | None = None
    watched: list[WatchedMetric] = []
    past_rollouts: list[EndedRollout] = []


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--store` and `--prefix`, and where the store's passwords are."""
    command = click.option(
        "--prefix", default=DEFAULT_PREFIX, show_default=True, help="As in redis.prefix."
    )(secret_options(command))
    return click.option(
        "--store",
        "location",
        default=DEFAULT_LOCATION,
        show_default=True,
        metavar="URL|DIR",
        help=LOCATION_HELP,
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
@log_option("--logs", help="The exported log to judge it by; needed unless overridden.")
@log_option(
    "--scratch",
    help="Where a log too large for memory is put in order, about twice its size.  [default: the "
    "system's temporary directory]",
)
@click.option("--objective", help="A name, or weights as JSON.  [default: as each decision had it]")
@config_option
@store_options
@by_option
@rollout_options
@click.option("--override", metavar="REASON", help="Promote whatever the gate says; recorded.")
@wait_option
@json_option
def promote(
    directory: Path,
    logs: "LogPlace | None",
    scratch: "LogPlace | None",
    objective: str | None,
    config: Path | None,
    location: str,
    prefix: str,
    by: str | None,
    shadow: bool,
    share: float | None,
    from_canary: bool,
    override: str | None,
    wait_s: float,
    as_json: bool,
    secrets: Secrets,
) -> None:
    """Judge a policy on a log and, if it is better than what serves, make every replica serve it.

    With --shadow or --canary it becomes the candidate beside what serves: first nothing but logged,
    then with a share of the draws, watched, and taken back by itself if it is shown to be worse.

    Exits with status 1, naming each condition that failed, where it isn't shown to be better, or
    where a running replica can't serve it.

    \b
    Examples:
      rag-policy promote --policy policy/ --logs logs/
      rag-policy promote --policy policy/ --shadow
      rag-policy promote --policy policy/ --logs logs/ --canary 0.05
      rag-policy promote --policy policy/ --from-canary
      rag-policy promote --policy policy/ --store redis://store:6379 --override "first rollout"
    """
    if override is not None and not override.strip():
        raise click.UsageError("--override needs a reason")
    check_rollout_options(
        shadow, share, from_canary, judged=logs is not None, overridden=override is not None
    )
    artifact = read_artifact(directory)
    policy = load_policy(artifact)
    with _registry(location, prefix, secrets) as registry:
        replicas = registry.replicas()
        try:
            require_fit(policy, replicas)
        except PolicyFitError as error:
            raise FailedOutcome(f"not promoted: {error}") from error
        active = registry.active()
        if active is not None and active.version == artifact.version:
            raise FailedOutcome(f"policy {artifact.version} is active already")
        verdict = (
            None
            if logs is None
            else _judge(policy, logs, scratch, objective, config, registry, active)
        )
        if verdict is not None:
            _require_passed(artifact.version, verdict, override, as_json)
        why = f"override: {override}" if override else ""
        why = evidence_of_canary(registry, artifact.version) if from_canary else why
        registry.publish(artifact)
        activation, rollout = None, None
        if shadow or share is not None:
            rollout = registry.roll_out(
                artifact.version, share=share or 0.0, by=by or _user(), note=why
            )
        else:
            activation = registry.activate(artifact.version, by=by or _user(), note=why)
        swaps = _await(registry, replicas, wait_s)
    result = Promotion(
        version=artifact.version,
        activation=activation,
        overridden=override,
        verdict=verdict,
        replicas=swaps,
        rollout=rollout,
    )
    stands = "active" if rollout is None else _stage(rollout)
    _answer(result, f"policy {artifact.version} is {stands}", as_json)


@click.command()
@store_options
@by_option
@click.option("--note", "why", default="", help="Why, for the audit trail.")
@wait_option
@json_option
def rollback(
    location: str,
    prefix: str,
    by: str | None,
    why: str,
    wait_s: float,
    as_json: bool,
    secrets: Secrets,
) -> None:
    """Take back the last promotion: the policy before it, or the built-in rules, serve again.

    While a candidate is in shadow or canary, that ends first, and what serves stays.

    \b
    Examples:
      rag-policy rollback
      rag-policy rollback --store redis://store:6379 --by ann --note "complaints since noon"
    """
    with _registry(location, prefix, secrets) as registry:
        replicas = registry.replicas()
        rollout, who = registry.rollout(), by or _user()
        try:
            # The rollout or nothing: if it ends meanwhile, what serves mustn't be taken back.
            ended = registry.end_rollout(rollout, by=who, note=why) if rollout else None
            active = registry.active() if ended else registry.rollback(by=who, note=why)
        except (RollbackError, RolloutChangedError) as error:
            raise FailedOutcome(str(error)) from error
        swaps = _await(registry, replicas, wait_s)
    if ended is not None:
        line = f"policy {ended.rollout.version} is no longer in {ended.rollout.stage}"
        _answer(Rollback(active=active, replicas=swaps, ended=ended), line, as_json)
        return
    serves = "the built-in rules serve" if active is None else f"policy {active.version} is active"
    _answer(Rollback(active=active, replicas=swaps), f"{serves} again", as_json)


@click.command("list")
@store_options
@json_option
def list_policies(location: str, prefix: str, as_json: bool, secrets: Secrets) -> None:
    """List the stored policies, which one is active, what came before it, and who serves what.

    \b
    Examples:
      rag-policy list
      rag-policy list --store redis://store:6379 --json
    """
    with _registry(location, prefix, secrets) as registry:
        rollout, report = registry.rollout(), registry.watch_report()
        found = report if rollout and report and report.key == rollout.key else None
        listing = Listing(
            active=registry.active(),
            generation=registry.generation(),
            policies=registry.manifests(),
            activations=registry.activations(),
            replicas=registry.replicas(),
            rollout=rollout,
            verdict=found.verdict if found else None,
            watched=found.metrics if found else [],
            past_rollouts=registry.past_rollouts(),
        )
    if as_json:
        click.echo(msgspec.json.encode(listing))
    else:
        _show(listing)


def _judge(
    policy: Policy,
    logs: "LogPlace",
    scratch: "LogPlace | None",
    objective: str | None,
    config: Path | None,
    registry: PolicyRegistry,
    active: Activation | None,
) -> "Verdict":
    from policies.exploration import Exploration
    from training.engines.local import LocalEngine
    from training.judge.gate import judge_unseen, require_incumbent
    from training.judge.judged_log import opened_log
    from training.judge.looks import look_of

    settings = read_policy_settings(config)
    weights = None if objective is None else resolve_objective_option(objective, settings).weights
    opened = opened_log(logs, policy, LocalEngine(), scratch=scratch, arms=policy.arms)
    with progress("judging"), opened as (parts, found):
        mine = found.unseen
        exploration = settings.exploration or Exploration()
        number = 1
        if mine.enough:
            # Recorded before anything is known of the outcome, so that no refusal goes uncounted.
            incumbent = str(mine.rounds.policy_versions[-1])
            look = look_of(mine.rounds, policy, weights, exploration)
            number = registry.record_look(incumbent, look)
        verdict = judge_unseen(
            mine,
            policy,
            weights,
            exploration,
            tenant_guardrails=settings.tenant_guardrails(),
            look=number,
            read=found.read([weights], exploration)[0] if mine.enough else None,
        )
    if active is not None:
        verdict = require_incumbent(verdict, parts.policy_version, active.version)
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
def _registry(location: str, prefix: str, secrets: Secrets) -> Iterator[PolicyRegistry]:
    with store_errors(location), connect(location, secrets) as client:
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


def _stage(rollout: Rollout) -> str:
    if rollout.stage == "shadow":
        return "in shadow"
    return f"in canary with {rollout.share:g} of the draws"


def _show(listing: Listing) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    policies = Table("version", "name", "made", "metrics", "", title="Policies")
    rollout = listing.rollout
    stages = {rollout.version: _stage(rollout)} if rollout is not None else {}
    stages |= {listing.active.version: "active"} if listing.active is not None else {}
    for manifest in listing.policies:
        policies.add_row(
            manifest.version,
            manifest.name,
            manifest.created_at,
            ", ".join(manifest.metrics),
            stages.get(manifest.version, ""),
        )
    console.print(policies)
    if rollout is not None:
        watched = "; ".join(map(figures_of, listing.watched)) or "the watch has not looked yet"
        verdict = f"{listing.verdict}: " if listing.verdict else ""
        console.print(f"{rollout.version} {_stage(rollout)}: {verdict}{watched}", markup=False)
    for ended in listing.past_rollouts[:5]:
        past = f"{ended.rollout.version} {_stage(ended.rollout)}: {ended.outcome}"
        told = " ".join(part for part in (past, ended.by, ended.note) if part)
        console.print(told, markup=False)
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
