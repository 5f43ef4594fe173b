"""The registry on a Redis-compatible store, shared by the replicas that serve from it.

A policy is a hash of its files; activations are a list, changed together with the generation and
the audit stream by small scripts; each replica's report is a key that expires.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from policies.artifact import MANIFEST, Artifact, Manifest, pack_artifact, unpack_version
from policies.errors import RollbackError, RolloutChangedError
from policies.registries import Activation, ReplicaStatus, registry_scripts
from policies.registries.memory import (
    PAST_ROLLOUTS,
    active_changed,
    already_active,
    began,
    rollout_changed,
    unknown_policy,
)
from policies.rollout import EndedRollout, Rollout, WatchReport, stage_of
from policies.store_keys import DEFAULT_PREFIX, StoreKeys

# The audit stream keeps about this many of the latest entries.
_AUDIT_ENTRIES = 10_000

# How often a change that somebody else got ahead of is tried again.
_TRIES = 8


class RedisClient(Protocol):
    """What is needed of a `redis.Redis` that doesn't decode responses; its errors pass through."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its answer."""


class RedisPolicyRegistry:
    """Policies in Redis."""

    def __init__(
        self,
        client: RedisClient,
        *,
        prefix: str = DEFAULT_PREFIX,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Store a connected client and what every key begins with."""
        self._client = client
        self._keys = StoreKeys(prefix)
        self._clock = clock

    def publish(self, artifact: Artifact) -> None:
        files = [part for item in pack_artifact(artifact).items() for part in item]
        keys = (self._keys.policy(artifact.version), self._keys.policies, self._keys.audit)
        self._run(registry_scripts.PUBLISH, keys, artifact.version, _AUDIT_ENTRIES, *files)

    def fetch(self, version: str) -> Artifact:
        fields = self._client.execute_command("HGETALL", self._keys.policy(version))
        if not fields:
            raise unknown_policy(version, self._versions())
        files = {name.decode(): content for name, content in fields.items()}
        return unpack_version(files, version)

    def manifests(self) -> list[Manifest]:
        found = [self._manifest(version) for version in self._versions()]
        manifests = [manifest for manifest in found if manifest is not None]
        return sorted(manifests, key=lambda manifest: (manifest.created_at, manifest.version))

    def activate(
        self, version: str, *, by: str = "", note: str = "", in_place_of: str | None = None
    ) -> Activation:
        wanted = Activation(version=version, at=self._clock(), by=by, note=note)
        keys = (
            self._keys.policy(version),
            self._keys.activations,
            self._keys.generation,
            self._keys.audit,
            self._keys.rollout,
            self._keys.past_rollouts,
        )
        encoded, tail = msgspec.json.encode(wanted), self._ending(by, note)
        seen = () if in_place_of is None else (in_place_of,)
        active = self._run(
            registry_scripts.ACTIVATE, keys, version, encoded, by, note, *tail, *seen
        )
        if active is None:
            raise unknown_policy(version, self._versions())
        if active == b"changed":
            raise active_changed(version, in_place_of or "")
        return _activation(active)

    def rollback(self, *, by: str = "", note: str = "") -> Activation | None:
        keys = (
            self._keys.activations,
            self._keys.generation,
            self._keys.audit,
            self._keys.rollout,
            self._keys.past_rollouts,
        )
        active = self._run(registry_scripts.ROLLBACK, keys, by, note, *self._ending(by, note))
        if active is None:
            raise RollbackError("nothing to roll back to: the built-in rules serve already")
        return _activation(active) if active else None

    def active(self) -> Activation | None:
        active = self._client.execute_command("LINDEX", self._keys.activations, -1)
        return _activation(active) if active else None

    def activations(self) -> list[Activation]:
        stack = self._client.execute_command("LRANGE", self._keys.activations, 0, -1)
        return [_activation(entry) for entry in stack]

    def generation(self) -> int:
        return int(self._client.execute_command("GET", self._keys.generation) or 0)

    def roll_out(
        self, version: str, *, share: float = 0.0, by: str = "", note: str = ""
    ) -> Rollout:
        stage = stage_of(share)
        keys = (
            self._keys.policy(version),
            self._keys.activations,
            self._keys.generation,
            self._keys.audit,
            self._keys.rollout,
            self._keys.past_rollouts,
        )
        for _ in range(_TRIES):
            seen = self._client.execute_command("GET", self._keys.rollout) or b""
            current, active, now = _rollout(seen), self.active(), self._clock()
            incumbent = active.version if active is not None else ""
            if version == incumbent:
                raise already_active(version)
            wanted = Rollout(
                version=version,
                stage=stage,
                share=share,
                began=began(current, version, share, now),
                at=now,
                incumbent=incumbent,
                by=by,
                note=note,
            )
            encoded, tail = msgspec.json.encode(wanted), self._ending(by, note)
            told = (version, encoded, by, note, *tail, stage, repr(share), seen, incumbent)
            answer = self._run(registry_scripts.ROLL_OUT, keys, *told)
            if answer == b"unknown":
                raise unknown_policy(version, self._versions())
            if answer == b"begun":
                return wanted
        raise RolloutChangedError("other rollouts are being begun all the time: try again")

    def rollout(self) -> Rollout | None:
        return _rollout(self._client.execute_command("GET", self._keys.rollout))

    def end_rollout(self, rollout: Rollout, *, by: str = "", note: str = "") -> EndedRollout:
        keys = (
            self._keys.rollout,
            self._keys.past_rollouts,
            self._keys.generation,
            self._keys.audit,
        )
        for _ in range(_TRIES):
            seen = self._client.execute_command("GET", self._keys.rollout)
            current = _rollout(seen)
            if current is None or current.key != rollout.key:
                break
            # It may be given another share meanwhile: the same rollout, and it ends all the same.
            ended = self._run(
                registry_scripts.END_ROLLOUT, keys, by, note, *self._ending(by, note), seen
            )
            if ended is not None:
                return msgspec.json.decode(ended, type=EndedRollout)
        raise rollout_changed(rollout)

    def past_rollouts(self) -> list[EndedRollout]:
        entries = self._client.execute_command("LRANGE", self._keys.past_rollouts, 0, -1)
        return [msgspec.json.decode(entry, type=EndedRollout) for entry in entries]

    def hold_watch(self, owner: str, lease_s: float) -> bool:
        keys = (self._keys.watch_lease,)
        return bool(self._run(registry_scripts.HOLD_WATCH, keys, owner, _milliseconds(lease_s)))

    def report_watch(self, report: WatchReport, owner: str, lease_s: float) -> bool:
        keys = (self._keys.watch_lease, self._keys.watch)
        encoded = msgspec.msgpack.encode(report)
        return bool(
            self._run(registry_scripts.REPORT_WATCH, keys, owner, _milliseconds(lease_s), encoded)
        )

    def watch_report(self) -> WatchReport | None:
        found = self._client.execute_command("GET", self._keys.watch)
        return None if found is None else msgspec.msgpack.decode(found, type=WatchReport)

    def report_replica(self, status: ReplicaStatus, *, expires_s: float = 10.0) -> None:
        # It expires by the store's own clock, since the replicas' clocks may differ.
        milliseconds = _milliseconds(expires_s)
        self._client.execute_command(
            "SET",
            self._keys.replica(status.replica),
            msgspec.json.encode(status),
            "PX",
            milliseconds,
        )
        self._client.execute_command("SADD", self._keys.replicas, status.replica)

    def replicas(self) -> list[ReplicaStatus]:
        names = sorted(self._client.execute_command("SMEMBERS", self._keys.replicas))
        statuses = []
        for name in names:
            found = self._client.execute_command("GET", self._keys.replica(name.decode()))
            if found is None:
                self._client.execute_command("SREM", self._keys.replicas, name)
            else:
                statuses.append(msgspec.json.decode(found, type=ReplicaStatus))
        return statuses

    def record_look(self, incumbent: str, look: str) -> int:
        keys = (self._keys.looks(incumbent), self._keys.audit)
        return int(self._run(registry_scripts.RECORD_LOOK, keys, look, incumbent, _AUDIT_ENTRIES))

    def looks(self, incumbent: str) -> list[str]:
        numbers = self._client.execute_command("HGETALL", self._keys.looks(incumbent))
        return [look.decode() for look in sorted(numbers, key=lambda look: int(numbers[look]))]

    def _versions(self) -> list[str]:
        members = self._client.execute_command("SMEMBERS", self._keys.policies)
        return sorted(member.decode() for member in members)

    def _manifest(self, version: str) -> Manifest | None:
        """None for a damaged one: it mustn't hide the others, and `fetch` says what is wrong."""
        content = self._client.execute_command("HGET", self._keys.policy(version), MANIFEST)
        try:
            return msgspec.json.decode(content or b"", type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _ending(self, by: str, note: str) -> tuple[int, int, bytes]:
        """What the scripts that may end a rollout take: lengths of lists, and how it ended."""
        ending = msgspec.json.encode({"at": self._clock(), "by": by, "note": note})
        return _AUDIT_ENTRIES, PAST_ROLLOUTS, ending[1:]

    def _run(self, script: str, keys: tuple[str, ...], *arguments: str | bytes | int) -> Any:
        return self._client.execute_command("EVAL", script, len(keys), *keys, *arguments)


def _activation(encoded: bytes) -> Activation:
    return msgspec.json.decode(encoded, type=Activation)


def _rollout(encoded: bytes | None) -> Rollout | None:
    return msgspec.json.decode(encoded, type=Rollout) if encoded else None


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
