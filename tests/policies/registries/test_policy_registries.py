"""The contract of every PolicyRegistry."""

import msgspec
import numpy as np
import pytest
import redis

from policies.artifact import Artifact, Manifest, pack_artifact, seal
from policies.errors import ArtifactError, RollbackError, UnknownPolicyError
from policies.registries import PolicyRegistry, ReplicaStatus
from policies.registries.redis_registry import RedisPolicyRegistry
from tests.stores import wait_until


def _artifact(number: int) -> Artifact:
    manifest = Manifest(
        kind="linear",
        name="test",
        arms=["a", "b"],
        metrics=["quality"],
        feature_version="test-1",
        created_at=f"2026-11-{number:02d}T00:00:00Z",
    )
    return seal(manifest, {"weights": np.arange(6.0).reshape(2, 3) + number})


def _status(replica: str, **changes: object) -> ReplicaStatus:
    status = ReplicaStatus(
        replica=replica,
        version="v",
        generation=1,
        arms=["a", "b"],
        feature_version="test-1",
        at=1.0,
    )
    return msgspec.structs.replace(status, **changes)


def test_a_published_policy_comes_back_whole(registry: PolicyRegistry) -> None:
    """Manifest and tensors are equal, and publishing again changes nothing."""
    artifact = _artifact(1)
    registry.publish(artifact)
    registry.publish(artifact)
    fetched = registry.fetch(artifact.version)
    assert pack_artifact(fetched) == pack_artifact(artifact)
    assert registry.manifests() == [artifact.manifest]


def test_manifests_come_oldest_first(registry: PolicyRegistry) -> None:
    """By when the policy was made, not by when it was published."""
    artifacts = [_artifact(number) for number in (3, 1, 2)]
    for artifact in artifacts:
        registry.publish(artifact)
    assert [m.created_at[8:10] for m in registry.manifests()] == ["01", "02", "03"]


def test_an_empty_registry_serves_the_rules(registry: PolicyRegistry) -> None:
    """Nothing is active, stored or running."""
    assert registry.active() is None
    assert registry.activations() == []
    assert registry.generation() == 0
    assert registry.manifests() == []
    assert registry.replicas() == []


def test_activations_stack_and_roll_back_in_turn(registry: PolicyRegistry) -> None:
    """Each rollback makes the activation before active again; at last the rules serve."""
    one, two = _artifact(1), _artifact(2)
    registry.publish(one)
    registry.publish(two)
    first = registry.activate(one.version, by="ann", note="why")
    second = registry.activate(two.version)
    assert (first.by, first.note) == ("ann", "why")
    assert registry.active() == second
    assert registry.activations() == [first, second]
    assert registry.rollback(by="bob") == first
    assert registry.active() == first
    assert registry.rollback() is None
    assert registry.active() is None
    with pytest.raises(RollbackError, match="nothing to roll back"):
        registry.rollback()


def test_the_generation_grows_with_every_change_only(registry: PolicyRegistry) -> None:
    """Activating the active policy again changes nothing; rolling back is a change."""
    artifact = _artifact(1)
    registry.publish(artifact)
    assert registry.generation() == 0
    activation = registry.activate(artifact.version)
    assert registry.generation() == 1
    assert registry.activate(artifact.version, note="again") == activation
    assert registry.generation() == 1
    registry.rollback()
    assert registry.generation() == 2


def test_an_unknown_version_is_refused_by_name(registry: PolicyRegistry) -> None:
    """The error names what is stored."""
    artifact = _artifact(1)
    registry.publish(artifact)
    for call in (registry.fetch, registry.activate):
        with pytest.raises(UnknownPolicyError, match=artifact.version):
            call("missing")
    assert registry.generation() == 0


def test_a_replica_is_seen_until_its_report_expires(registry: PolicyRegistry) -> None:
    """The latest report counts."""
    registry.report_replica(_status("two"))
    registry.report_replica(_status("one", refused="doesn't fit"))
    registry.report_replica(_status("two", generation=2), expires_s=60.0)
    assert [(r.replica, r.generation, r.refused) for r in registry.replicas()] == [
        ("one", 1, "doesn't fit"),
        ("two", 2, None),
    ]
    registry.report_replica(_status("one"), expires_s=0.001)
    wait_until(lambda: [r.replica for r in registry.replicas()] == ["two"])


def test_two_clients_of_one_store_see_the_same(store_url: str) -> None:
    """What one replica activates the other serves; its audit trail names who did it."""
    with redis.Redis.from_url(store_url) as one, redis.Redis.from_url(store_url) as two:
        artifact = _artifact(1)
        RedisPolicyRegistry(one).publish(artifact)
        RedisPolicyRegistry(one).activate(artifact.version, by="ann", note="because")
        other = RedisPolicyRegistry(two)
        active = other.active()
        assert active is not None
        assert active.version == artifact.version
        other.rollback(by="bob")
        audit = [fields for _, fields in one.xrange("{rag}:audit")]
    assert [entry[b"what"] for entry in audit] == [b"publish", b"activate", b"rollback"]
    assert audit[1][b"by"] == b"ann"
    assert audit[2][b"by"] == b"bob"


def test_a_policy_altered_in_the_store_is_refused(store_url: str) -> None:
    """Fetching it fails; listing the others still works."""
    good, bad = _artifact(1), _artifact(2)
    with redis.Redis.from_url(store_url) as client:
        registry = RedisPolicyRegistry(client)
        registry.publish(good)
        registry.publish(bad)
        client.hset(f"{{rag}}:policy:{bad.version}", "tensors.safetensors", b"altered")
        with pytest.raises(ArtifactError):
            registry.fetch(bad.version)
        client.hset(f"{{rag}}:policy:{bad.version}", "manifest.json", b"{")
        assert registry.manifests() == [good.manifest]


def test_looks_are_counted_per_incumbent(registry: PolicyRegistry) -> None:
    """From 1, in order; another incumbent's count is its own."""
    assert registry.looks("one") == []
    assert [registry.record_look("one", look) for look in ("x", "y", "z")] == [1, 2, 3]
    assert registry.record_look("other", "y") == 1
    assert registry.looks("one") == ["x", "y", "z"]
    assert registry.looks("other") == ["y"]


def test_the_same_look_is_counted_once(registry: PolicyRegistry) -> None:
    """It keeps its number, whatever came in between."""
    registry.record_look("one", "x")
    registry.record_look("one", "y")
    assert registry.record_look("one", "x") == 1
    assert registry.record_look("one", "z") == 3


def test_looks_outlive_a_change_of_the_active_policy(registry: PolicyRegistry) -> None:
    """A policy that is rolled back to goes on counting where it stopped."""
    registry.publish(_artifact(1))
    registry.record_look("rules", "x")
    registry.activate(_artifact(1).version)
    registry.rollback()
    assert registry.record_look("rules", "y") == 2
