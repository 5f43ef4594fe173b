"""The registry on a Redis-compatible store, shared by the replicas that serve from it.

A policy is a hash of its files; activations are a list, changed together with the generation and
the audit stream by small scripts; each replica's report is a key that expires.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from policies.artifact import MANIFEST, Artifact, Manifest, pack_artifact, unpack_version
from policies.errors import RollbackError
from policies.registries import Activation, ReplicaStatus
from policies.registries.memory import unknown_policy
from policies.store_keys import DEFAULT_PREFIX, StoreKeys

# The audit stream keeps about this many of the latest entries.
_AUDIT_ENTRIES = 10_000

# KEYS: policy, set of versions, audit. ARGV: version, audit length, then files and contents.
_PUBLISH = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'what', 'publish', 'version', ARGV[1])
return 1
"""

# KEYS: policy, activations, generation, audit. ARGV: version, activation, who, why, audit length.
# Answers false for a version that isn't stored, else the active activation.
_ACTIVATE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local active = redis.call('LINDEX', KEYS[2], -1)
if active and cjson.decode(active)['version'] == ARGV[1] then return active end
redis.call('RPUSH', KEYS[2], ARGV[2])
redis.call('INCR', KEYS[3])
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[5], '*', 'what', 'activate', 'version', ARGV[1],
  'by', ARGV[3], 'note', ARGV[4])
return ARGV[2]
"""

# KEYS: activations, generation, audit. ARGV: who, why, audit length.
# Answers false where nothing is active, else what is active now, an empty string for the rules.
_ROLLBACK = """
local taken = redis.call('RPOP', KEYS[1])
if not taken then return false end
redis.call('INCR', KEYS[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'what', 'rollback',
  'version', cjson.decode(taken)['version'], 'by', ARGV[1], 'note', ARGV[2])
return redis.call('LINDEX', KEYS[1], -1) or ''
"""


# KEYS: looks, audit. ARGV: look, incumbent, audit length. Answers the look's number.
_RECORD_LOOK = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if number then return tonumber(number) end
number = redis.call('HLEN', KEYS[1]) + 1
redis.call('HSET', KEYS[1], ARGV[1], number)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'what', 'look', 'incumbent', ARGV[2],
  'look', ARGV[1], 'number', number)
return number
"""


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
        self._run(_PUBLISH, keys, artifact.version, _AUDIT_ENTRIES, *files)

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

    def activate(self, version: str, *, by: str = "", note: str = "") -> Activation:
        wanted = Activation(version=version, at=self._clock(), by=by, note=note)
        keys = (
            self._keys.policy(version),
            self._keys.activations,
            self._keys.generation,
            self._keys.audit,
        )
        active = self._run(
            _ACTIVATE, keys, version, msgspec.json.encode(wanted), by, note, _AUDIT_ENTRIES
        )
        if active is None:
            raise unknown_policy(version, self._versions())
        return _activation(active)

    def rollback(self, *, by: str = "", note: str = "") -> Activation | None:
        keys = (self._keys.activations, self._keys.generation, self._keys.audit)
        active = self._run(_ROLLBACK, keys, by, note, _AUDIT_ENTRIES)
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

    def report_replica(self, status: ReplicaStatus, *, expires_s: float = 10.0) -> None:
        # It expires by the store's own clock, since the replicas' clocks may differ.
        milliseconds = max(1, int(expires_s * 1000))
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
        return int(self._run(_RECORD_LOOK, keys, look, incumbent, _AUDIT_ENTRIES))

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

    def _run(self, script: str, keys: tuple[str, ...], *arguments: str | bytes | int) -> Any:
        return self._client.execute_command("EVAL", script, len(keys), *keys, *arguments)


def _activation(encoded: bytes) -> Activation:
    return msgspec.json.decode(encoded, type=Activation)
