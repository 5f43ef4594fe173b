"""The registry in memory: the twin for unit tests and single processes."""

import time
from collections.abc import Callable

import msgspec

from policies.artifact import MANIFEST, Artifact, Manifest, pack_artifact, unpack_version
from policies.errors import (
    ActiveChangedError,
    AlreadyActiveError,
    RollbackError,
    RolloutChangedError,
    UnknownPolicyError,
)
from policies.registries import Activation, ReplicaStatus
from policies.rollout import EndedRollout, Outcome, Rollout, WatchReport, stage_of

# So many ended rollouts are kept.
PAST_ROLLOUTS = 20


class MemoryPolicyRegistry:
    """Keeps policies until the process ends."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Start empty; `clock` gives seconds since the epoch."""
        self._clock = clock
        self._policies: dict[str, dict[str, bytes]] = {}
        self._activations: list[Activation] = []
        self._generation = 0
        self._rollout: Rollout | None = None
        self._past_rollouts: list[EndedRollout] = []
        self._watch_report: WatchReport | None = None
        self._watch_lease = ("", 0.0)
        self._replicas: dict[str, tuple[ReplicaStatus, float]] = {}
        self._looks: dict[str, dict[str, int]] = {}

    def publish(self, artifact: Artifact) -> None:
        self._policies.setdefault(artifact.version, pack_artifact(artifact))

    def fetch(self, version: str) -> Artifact:
        self._require(version)
        return unpack_version(self._policies[version], version)

    def manifests(self) -> list[Manifest]:
        manifests = [
            msgspec.json.decode(files[MANIFEST], type=Manifest) for files in self._policies.values()
        ]
        return sorted(manifests, key=lambda manifest: (manifest.created_at, manifest.version))

    def activate(
        self, version: str, *, by: str = "", note: str = "", in_place_of: str | None = None
    ) -> Activation:
        self._require(version)
        active = self.active()
        stands = active.version if active is not None else ""
        if in_place_of is not None and (stands != in_place_of or self._rollout is not None):
            raise active_changed(version, in_place_of)
        if active is not None and active.version == version:
            return active
        activation = Activation(version=version, at=self._clock(), by=by, note=note)
        self._activations.append(activation)
        self._generation += 1
        if self._rollout is not None:
            outcome: Outcome = "promoted" if self._rollout.version == version else "replaced"
            self._end(self._rollout, outcome, by, note)
        return activation

    def rollback(self, *, by: str = "", note: str = "") -> Activation | None:
        if self._rollout is not None:
            self._end(self._rollout, "rolled_back", by, note)
            self._generation += 1
            return self.active()
        if not self._activations:
            raise RollbackError("nothing to roll back to: the built-in rules serve already")
        self._activations.pop()
        self._generation += 1
        return self.active()

    def active(self) -> Activation | None:
        return self._activations[-1] if self._activations else None

    def activations(self) -> list[Activation]:
        return list(self._activations)

    def generation(self) -> int:
        return self._generation

    def roll_out(
        self, version: str, *, share: float = 0.0, by: str = "", note: str = ""
    ) -> Rollout:
        stage = stage_of(share)
        self._require(version)
        active, current, now = self.active(), self._rollout, self._clock()
        incumbent = active.version if active is not None else ""
        if version == incumbent:
            raise already_active(version)
        rollout = Rollout(
            version=version,
            stage=stage,
            share=share,
            began=began(current, version, share, now),
            at=now,
            incumbent=incumbent,
            by=by,
            note=note,
        )
        if current is not None and current.version != version:
            self._end(current, "replaced", by, note)
        self._rollout = rollout
        self._generation += 1
        return rollout

    def rollout(self) -> Rollout | None:
        return self._rollout

    def end_rollout(self, rollout: Rollout, *, by: str = "", note: str = "") -> EndedRollout:
        if self._rollout is None or self._rollout.key != rollout.key:
            raise rollout_changed(rollout)
        self._generation += 1
        return self._end(self._rollout, "rolled_back", by, note)

    def past_rollouts(self) -> list[EndedRollout]:
        return list(self._past_rollouts)

    def hold_watch(self, owner: str, lease_s: float) -> bool:
        holder, expires = self._watch_lease
        now = self._clock()
        if holder not in ("", owner) and expires > now:
            return False
        self._watch_lease = (owner, now + lease_s)
        return True

    def report_watch(self, report: WatchReport, owner: str, lease_s: float) -> bool:
        if self._watch_lease[0] != owner or not self.hold_watch(owner, lease_s):
            return False
        self._watch_report = report
        return True

    def watch_report(self) -> WatchReport | None:
        return self._watch_report

    def _end(self, rollout: Rollout, outcome: Outcome, by: str, note: str) -> EndedRollout:
        ended = EndedRollout(rollout=rollout, outcome=outcome, at=self._clock(), by=by, note=note)
        self._past_rollouts = [ended, *self._past_rollouts][:PAST_ROLLOUTS]
        self._rollout = None
        return ended

    def report_replica(self, status: ReplicaStatus, *, expires_s: float = 10.0) -> None:
        self._replicas[status.replica] = (status, self._clock() + expires_s)

    def replicas(self) -> list[ReplicaStatus]:
        now = self._clock()
        self._replicas = {name: entry for name, entry in self._replicas.items() if entry[1] > now}
        return [self._replicas[name][0] for name in sorted(self._replicas)]

    def record_look(self, incumbent: str, look: str) -> int:
        looks = self._looks.setdefault(incumbent, {})
        return looks.setdefault(look, len(looks) + 1)

    def looks(self, incumbent: str) -> list[str]:
        return list(self._looks.get(incumbent, {}))

    def _require(self, version: str) -> None:
        if version not in self._policies:
            raise unknown_policy(version, list(self._policies))


def unknown_policy(version: str, known: list[str]) -> UnknownPolicyError:
    """The error for a version that isn't stored, naming those that are."""
    names = ", ".join(sorted(known)) or "none yet"
    return UnknownPolicyError(
        f"no policy {version!r} is stored; stored versions: {names}", field="version"
    )


def began(current: Rollout | None, version: str, share: float, now: float) -> float:
    """When the stage of a candidate began: another share of a canary is the same canary."""
    goes_on = (
        current is not None and current.version == version and current.stage == stage_of(share)
    )
    return current.began if current is not None and goes_on else now


def already_active(version: str) -> AlreadyActiveError:
    """The error for a rollout of the active policy."""
    return AlreadyActiveError(
        f"policy {version} is active already: only another policy can be its candidate",
        field="version",
    )


def active_changed(version: str, in_place_of: str) -> ActiveChangedError:
    """The error for an activation that somebody else's change came before."""
    before = f"policy {in_place_of}" if in_place_of else "the built-in rules"
    return ActiveChangedError(
        f"policy {version} was to serve in place of {before}, but what serves was changed or a "
        "rollout was begun meanwhile: nothing is changed now",
        field="version",
    )


def rollout_changed(rollout: Rollout) -> RolloutChangedError:
    """The error for a rollout that has ended or was replaced."""
    return RolloutChangedError(
        f"the {rollout.stage} of policy {rollout.version} has ended already", field="version"
    )
