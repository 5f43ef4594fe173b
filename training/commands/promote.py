"""`rag-policy promote`: a policy that is shown to be better serves, or becomes the candidate."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from policies.artifact import read_artifact
from policies.loading import load_policy
from policies.registries import Activation
from policies.rollout import Rollout
from training.commands.options import config_option, directory_option, json_option, log_option
from training.commands.promotion_gate import gate_verdict, require_promotable, tell_conditions
from training.commands.registry_options import (
    by_option,
    opened_registry,
    registry_options,
    user,
    wait_option,
)
from training.commands.replica_answers import answer, await_swaps
from training.commands.rollout_options import (
    check_rollout_options,
    done_by_replicas,
    evidence_of_canary,
    rollout_options,
    stage_in_words,
)
from training.errors import FailedOutcome
from training.log.store import Secrets
from training.progress import note
from training.rollout import ReplicaSwap

if TYPE_CHECKING:  # it takes scikit-learn, which only judging needs
    from training.judge.gate import Verdict
    from training.log.log_folder import LogPlace


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
@registry_options
@by_option
@rollout_options
@click.option("--override", metavar="REASON", help="Promote whatever the gate says; recorded.")
@wait_option
@json_option
def command(
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
    with opened_registry(location, prefix, secrets) as registry:
        replicas, active = require_promotable(registry, policy)
        verdict = None
        if logs is not None:
            verdict = gate_verdict(policy, logs, scratch, objective, config, registry, active)
            tell_conditions(verdict)
            _require_passed(artifact.version, verdict, override, as_json)
        why = f"override: {override}" if override else ""
        why = evidence_of_canary(registry, artifact.version) if from_canary else why
        registry.publish(artifact)
        activation, rollout, who = None, None, by or user()
        if shadow or share is not None:
            rollout = registry.roll_out(artifact.version, share=share or 0.0, by=who, note=why)
        else:
            activation = registry.activate(artifact.version, by=who, note=why)
        swaps = await_swaps(registry, replicas, wait_s, done_by_replicas(rollout))
    result = Promotion(
        version=artifact.version,
        activation=activation,
        overridden=override,
        verdict=verdict,
        replicas=swaps,
        rollout=rollout,
    )
    stands = "active" if rollout is None else stage_in_words(rollout)
    answer(result, f"policy {artifact.version} is {stands}", as_json)


def _require_passed(version: str, verdict: "Verdict", override: str | None, as_json: bool) -> None:
    """A gate that refuses ends the command unless it is overridden."""
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
