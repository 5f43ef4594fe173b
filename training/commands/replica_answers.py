"""How the running replicas took a change of what serves, told at the end of a subcommand."""

from collections.abc import Sequence
from typing import Protocol

import click
import msgspec
import redis
from redis.exceptions import RedisClusterException

from policies.registries import PolicyRegistry, ReplicaStatus
from training.errors import FailedOutcome
from training.progress import note
from training.rollout import ReplicaSwap, wait_for_replicas


class Change(Protocol):
    """What a subcommand did, as it is printed."""

    @property
    def replicas(self) -> list[ReplicaSwap]:
        """How each replica took it."""


def await_swaps(
    registry: PolicyRegistry,
    replicas: Sequence[ReplicaStatus],
    wait_s: float,
    does: str = "serves it",
) -> list[ReplicaSwap]:
    """Wait until these replicas took the registry's last change; says how each did.

    The change is made. A store that can't be used any more makes it no failure, since a command
    that is repeated for that would make another change.

    Args:
        registry: where the change was made, and where they report.
        replicas: those that ran when it was made.
        wait_s: how long to wait.
        does: what a replica does that has taken it, as in "serves it".
    """
    try:
        swaps = wait_for_replicas(registry, replicas, registry.generation(), wait_s)
    except (redis.RedisError, RedisClusterException) as error:
        return _unasked(replicas, str(error) or type(error).__name__)
    for swap in swaps:
        took = swap.problem or f"{does} after {swap.seconds:.2f} s"
        note(f"replica {swap.replica} {took}")
    if not swaps:
        note(f"no replica runs: the next one that starts {does}")
    return swaps


def _unasked(replicas: Sequence[ReplicaStatus], why: str) -> list[ReplicaSwap]:
    note(
        f"done, but the replicas couldn't be asked: {why}; don't repeat this command, `list` shows "
        "how they stand once the store is back"
    )
    return [ReplicaSwap(replica=replica.replica, unasked=why) for replica in replicas]


def answer(result: Change, line: str, as_json: bool) -> None:
    """Print what was done; a replica that didn't take it ends the command with status 1."""
    click.echo(msgspec.json.encode(result) if as_json else line)
    problems = [f"{swap.replica} {swap.problem}" for swap in result.replicas if swap.problem]
    if problems:
        raise FailedOutcome(f"{line}, but not everywhere: {'; '.join(problems)}")
