"""The registry in memory: the twin for unit tests and single processes."""

import time
from collections.abc import Callable

import msgspec

from policies.artifact import MANIFEST, Artifact, Manifest, pack_artifact, unpack_version
from policies.errors import RollbackError, UnknownPolicyError
from policies.registries import Activation, ReplicaStatus


class MemoryPolicyRegistry:
    """Keeps policies until the process ends."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Start empty; `clock` gives seconds since the epoch."""
        self._clock = clock
        self._policies: dict[str, dict[str, bytes]] = {}
        self._activations: list[Activation] = []
        self._generation = 0
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

    def activate(self, version: str, *, by: str = "", note: str = "") -> Activation:
        self._require(version)
        active = self.active()
        if active is not None and active.version == version:
            return active
        activation = Activation(version=version, at=self._clock(), by=by, note=note)
        self._activations.append(activation)
        self._generation += 1
        return activation

    def rollback(self, *, by: str = "", note: str = "") -> Activation | None:  # noqa: ARG002
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
