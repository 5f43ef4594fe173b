"""How the running replicas took a change of what serves, told at the end of a subcommand."""

from collections.abc import Sequence
from typing import Protocol

import click
import msgspec

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

    Args:
        registry: where the change was made, and where they report.
        replicas: those that ran when it was made.
        wait_s: how long to wait.
        does: what a replica does that has taken it, as in "serves it".
    """
    swaps = wait_for_replicas(registry, replicas, registry.generation(), wait_s)
    for swap in swaps:
        took = swap.problem or f"{does} after {swap.seconds:.2f} s"
        note(f"replica {swap.replica} {took}")
    if not swaps:
        note(f"no replica runs: the next one that starts {does}")
    return swaps


def answer(result: Change, line: str, as_json: bool) -> None:
    """Print what was done; a replica that didn't take it ends the command with status 1."""
    click.echo(msgspec.json.encode(result) if as_json else line)
    problems = [f"{swap.replica} {swap.problem}" for swap in result.replicas if swap.problem]
    if problems:
        raise FailedOutcome(f"{line}, but not everywhere: {'; '.join(problems)}")
