"""Which policies exist, which one serves, and which replica serves what.

One port, one adapter a file: `memory` for tests and single processes, `redis_registry` for
replicas that share a store. Activations form a stack: promoting pushes, rolling back pops, and an
empty stack means the built-in rules serve. Beside the active policy there may be one candidate, in
shadow or canary; whatever changes the active policy ends its rollout.
"""

from typing import Protocol

import msgspec

from policies.artifact import Artifact, Manifest
from policies.rollout import EndedRollout, Rollout, WatchReport


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """A version made active: when (seconds since the epoch, UTC), by whom, and why."""

    version: str
    at: float
    by: str = ""
    note: str = ""


class ReplicaStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What one running replica says of itself; it expires where the replica stops saying it.

    `generation` is the registry's as the replica last applied it, `refused` the reason why it
    keeps its incumbent instead of that generation's policy. `candidate` is the version that it has
    in shadow or canary, `candidate_refused` why it leaves the registry's out.
    """

    replica: str
    version: str
    generation: int
    arms: list[str]
    feature_version: str
    at: float
    refused: str | None = None
    candidate: str = ""
    candidate_refused: str | None = None


class PolicyRegistry(Protocol):
    """The store of policies and of the choice among them. Every call may block on the network."""

    def publish(self, artifact: Artifact) -> None:
        """Store an artifact under its version; storing it again changes nothing."""

    def fetch(self, version: str) -> Artifact:
        """The artifact of a version.

        Raises UnknownPolicyError, or ArtifactError where what is stored is damaged.
        """

    def manifests(self) -> list[Manifest]:
        """The manifests of all stored policies, oldest first by `created_at`."""

    def activate(
        self, version: str, *, by: str = "", note: str = "", in_place_of: str | None = None
    ) -> Activation:
        """Make a version the active one; activating the active one again changes nothing.

        A rollout ends with it: the candidate's as promoted, another's as replaced.

        `in_place_of` is the version that must be active still, "" for the rules, and then no
        rollout may be under way; without it the version becomes active whatever is.

        Raises UnknownPolicyError where it isn't stored, ActiveChangedError where what it is to be
        in place of isn't so any more: then nothing changes.
        """

    def rollback(self, *, by: str = "", note: str = "") -> Activation | None:
        """End the rollout; without one, take back the last activation.

        Returns what is active then, None for the rules. Raises RollbackError where there is no
        rollout and nothing is active.
        """

    def active(self) -> Activation | None:
        """The active policy; None while the built-in rules serve."""

    def activations(self) -> list[Activation]:
        """The stack of activations, the active one last."""

    def generation(self) -> int:
        """A number that grows with every change of the active policy and of the rollout."""

    def roll_out(
        self, version: str, *, share: float = 0.0, by: str = "", note: str = ""
    ) -> Rollout:
        """Put a candidate into shadow, or with a share into canary, in place of any other.

        Raises UnknownPolicyError where it isn't stored, ShareError for a share that no canary can
        have, AlreadyActiveError where it is active.
        """

    def rollout(self) -> Rollout | None:
        """The candidate in shadow or canary."""

    def end_rollout(self, rollout: Rollout, *, by: str = "", note: str = "") -> EndedRollout:
        """Take this candidate out again; the active policy serves alone.

        Raises RolloutChangedError where its stage isn't the registry's (any more).
        """

    def past_rollouts(self) -> list[EndedRollout]:
        """The latest twenty rollouts that have ended, the latest first."""

    def hold_watch(self, owner: str, lease_s: float) -> bool:
        """Whether this process keeps the watch for that long: it did already, or nobody did."""

    def report_watch(self, report: WatchReport, owner: str, lease_s: float) -> bool:
        """Keep what the watch has found, unless another process keeps the watch now."""

    def watch_report(self) -> WatchReport | None:
        """What the watch has found; of an earlier rollout where its key isn't the present one's."""

    def report_replica(self, status: ReplicaStatus, *, expires_s: float = 10.0) -> None:
        """Say what a replica serves."""

    def replicas(self) -> list[ReplicaStatus]:
        """The replicas that have reported and not expired."""

    def record_look(self, incumbent: str, look: str) -> int:
        """Record that a candidate was judged against an incumbent, and return the look's number.

        Numbers count from 1 for each incumbent; an equal look keeps the number it had.
        """

    def looks(self, incumbent: str) -> list[str]:
        """The looks at an incumbent in order of their numbers."""
