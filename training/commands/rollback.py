"""`rag-policy rollback`: what served before serves again."""

import click
import msgspec

from policies.errors import RollbackError, RolloutChangedError
from policies.registries import Activation
from policies.rollout import EndedRollout
from training.commands.options import json_option
from training.commands.registry_options import (
    by_option,
    opened_registry,
    registry_options,
    user,
    wait_option,
)
from training.commands.replica_answers import answer, await_swaps
from training.errors import FailedOutcome
from training.log.store import Secrets
from training.rollout import ReplicaSwap


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """What `rollback` did; `active` is None where the built-in rules serve.

    `ended` is the rollout that it ended in place of an activation.
    """

    active: Activation | None
    replicas: list[ReplicaSwap]
    ended: EndedRollout | None = None


@click.command()
@registry_options
@by_option
@click.option("--note", "why", default="", help="Why, for the audit trail.")
@wait_option
@json_option
def command(
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
    with opened_registry(location, prefix, secrets) as registry:
        replicas = registry.replicas()
        rollout, who = registry.rollout(), by or user()
        active = registry.active()  # asked before the change: after it, nothing may fail
        try:
            # The rollout or nothing: if it ends meanwhile, what serves mustn't be taken back.
            ended = registry.end_rollout(rollout, by=who, note=why) if rollout else None
            active = active if ended else registry.rollback(by=who, note=why)
        except (RollbackError, RolloutChangedError) as error:
            raise FailedOutcome(str(error)) from error
        did = "leaves the candidate out" if ended else "serves what served before"
        swaps = await_swaps(registry, replicas, wait_s, did)
    if ended is not None:
        line = f"policy {ended.rollout.version} is no longer in {ended.rollout.stage}"
        answer(Rollback(active=active, replicas=swaps, ended=ended), line, as_json)
        return
    serves = "the built-in rules serve" if active is None else f"policy {active.version} is active"
    answer(Rollback(active=active, replicas=swaps), f"{serves} again", as_json)
