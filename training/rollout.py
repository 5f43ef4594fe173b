"""Bringing a policy to the running replicas: does it fit them, and when did each take it."""

import time
from collections.abc import Callable, Sequence

import msgspec

from policies.errors import PolicyFitError
from policies.policy import Policy, arm_columns
from policies.registries import PolicyRegistry, ReplicaStatus

_POLL_S = 0.02


class ReplicaSwap(msgspec.Struct, frozen=True, kw_only=True):
    """How one replica took a change: the seconds it needed, or why it didn't.

    `seconds` is None where it didn't report in time, or refused; then `problem` says which. Where
    it couldn't be asked, which says nothing of how it took the change, `unasked` says why.
    """

    replica: str
    seconds: float | None = None
    problem: str | None = None
    unasked: str | None = None


def require_fit(policy: Policy, replicas: Sequence[ReplicaStatus]) -> None:
    """Raise PolicyFitError, naming the replica, unless every running one can serve the policy."""
    for replica in replicas:
        try:
            arm_columns(policy, replica.arms, replica.feature_version)
        except PolicyFitError as error:
            raise PolicyFitError(
                f"replica {replica.replica} can't serve it: {error}", field=error.field
            ) from error


def wait_for_replicas(
    registry: PolicyRegistry,
    replicas: Sequence[ReplicaStatus],
    generation: int,
    timeout_s: float,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> list[ReplicaSwap]:
    """How each of these replicas took a generation; waits until all have, or time is up.

    Args:
        registry: where they report.
        replicas: those that ran when the change was made.
        generation: the registry's number after the change; a later one counts too.
        timeout_s: how long to wait.
        pause: sleeps between two looks.
    """
    began = time.monotonic()
    swaps: dict[str, ReplicaSwap] = {}
    while True:
        elapsed = time.monotonic() - began
        for status in registry.replicas():
            if status.generation >= generation and status.replica not in swaps:
                swaps[status.replica] = _swap(status, elapsed)
        missing = [replica.replica for replica in replicas if replica.replica not in swaps]
        if not missing or elapsed > timeout_s:
            break
        pause(_POLL_S)
    late = [
        ReplicaSwap(replica=name, problem=f"didn't report within {timeout_s:g} s")
        for name in missing
    ]
    return sorted([*swaps.values(), *late], key=lambda swap: swap.replica)


def _swap(status: ReplicaStatus, elapsed: float) -> ReplicaSwap:
    if status.refused is not None:
        problem = f"keeps its incumbent: {status.refused}"
        return ReplicaSwap(replica=status.replica, problem=problem)
    if status.candidate_refused is not None:
        problem = f"leaves the candidate out: {status.candidate_refused}"
        return ReplicaSwap(replica=status.replica, problem=problem)
    return ReplicaSwap(replica=status.replica, seconds=round(elapsed, 3))
