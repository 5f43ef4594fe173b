"""Two services on one store, of which one is a release later and writes a field more."""

from collections.abc import Callable, Iterator

import msgspec
import pytest
import redis

from policies.registries.redis_registry import RedisPolicyRegistry
from policies.shards import Shards
from policies.store_keys import StoreKeys
from tests.policies.registries.test_policy_registries import _artifact

KEYS = StoreKeys()


@pytest.fixture
def client(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url) as client:
        yield client


@pytest.fixture
def registry(client: redis.Redis) -> RedisPolicyRegistry:
    """The earlier release's, with an active policy, a former one and a candidate in canary."""
    registry = RedisPolicyRegistry(client)
    first, second, third = (_artifact(number) for number in (1, 2, 3))
    for artifact in (first, second, third):
        registry.publish(artifact)
    registry.activate(first.version)
    registry.activate(second.version)
    registry.roll_out(third.version, share=0.1)
    return registry


def with_more(encoded: bytes | None) -> bytes:
    """The record as the later release would have written it."""
    assert encoded is not None
    return msgspec.json.encode({**msgspec.json.decode(encoded), "of_the_future": {"deep": [1]}})


def test_an_activation_with_a_field_more_is_active_and_rolled_back_to(
    client: redis.Redis, registry: RedisPolicyRegistry
) -> None:
    """And what the later release wrote of it stays in the store."""
    before = registry.activations()
    for index in range(2):
        client.lset(KEYS.activations, index, with_more(client.lindex(KEYS.activations, index)))
    assert registry.activations() == before
    registry.rollback()  # the rollout
    assert registry.rollback() == before[0]
    left = client.lindex(KEYS.activations, -1)
    assert left is not None
    assert b"of_the_future" in left


@pytest.mark.parametrize(
    "end",
    [
        lambda registry, rollout: registry.end_rollout(rollout),
        lambda registry, _: registry.rollback(),
        lambda registry, rollout: registry.activate(rollout.version),
        lambda registry, _: registry.roll_out(_artifact(1).version),
    ],
    ids=["ended", "rolled back", "promoted", "replaced"],
)
def test_a_rollout_with_a_field_more_is_read_and_ended(
    client: redis.Redis,
    registry: RedisPolicyRegistry,
    end: Callable[[RedisPolicyRegistry, object], object],
) -> None:
    """The earlier release's watch must be able to take a bad canary of the later one back."""
    rollout = registry.rollout()
    client.set(KEYS.rollout, with_more(client.get(KEYS.rollout)))
    assert registry.rollout() == rollout
    end(registry, rollout)
    [ended] = registry.past_rollouts()
    assert ended.rollout == rollout
    kept = client.lindex(KEYS.past_rollouts, 0)
    assert kept is not None
    assert b"of_the_future" in kept


def test_a_policy_whose_manifest_has_a_field_more_is_listed_and_fetched(
    client: redis.Redis, registry: RedisPolicyRegistry
) -> None:
    """Its version is the hash of what was written, so the field doesn't make it look altered."""
    from policies.artifact import MANIFEST, _content_hash, save_tensors

    artifact = _artifact(4)
    written = {**msgspec.to_builtins(artifact.manifest), "of_the_future": 1}
    version = _content_hash(written, save_tensors(artifact.tensors))
    client.hset(
        KEYS.policy(version),
        mapping={
            MANIFEST: msgspec.json.encode({**written, "version": version}),
            "tensors.safetensors": save_tensors(artifact.tensors),
        },
    )
    client.sadd(KEYS.policies, version)
    assert registry.fetch(version).version == version
    assert version in [manifest.version for manifest in registry.manifests()]
    assert registry.activate(version).version == version


def test_a_replica_of_the_later_release_is_seen(
    client: redis.Redis, registry: RedisPolicyRegistry
) -> None:
    status = {
        "replica": "new",
        "version": "rules",
        "generation": 1,
        "arms": ["a"],
        "feature_version": "test",
        "at": 0.0,
        "of_the_future": True,
    }
    client.set(KEYS.replica("new"), msgspec.json.encode(status))
    client.sadd(KEYS.replicas, "new")
    assert [replica.replica for replica in registry.replicas()] == ["new"]


def test_a_note_of_shards_with_a_field_more_is_read() -> None:
    """Or one release would look for decisions where the other hasn't put them."""
    noted = [{"since_ms": 0, "tags": ["{rag}", "{rag:1}"], "of_the_future": 1}]
    found = Shards.noted(msgspec.json.encode(noted), KEYS)
    assert [keys.tag for keys in found.all] == ["{rag}", "{rag:1}"]


def test_keys_are_where_the_release_before_looks_for_them() -> None:
    """Another name of a key is another store to it: what serves and what was logged would be gone.

    A new key is no harm. To move one, write both for a release.
    """
    names = {name: value for name, value in vars(StoreKeys("p")).items() if name != "tag"}
    of_0_1 = {
        "prefix": "{p}",
        "decisions": "{p}:decisions",
        "feedback": "{p}:feedback",
        "writable": "{p}:writable",
        "log_id": "{p}:log",
        "shards": "{p}:shards",
        "policies": "{p}:policies",
        "activations": "{p}:activations",
        "generation": "{p}:generation",
        "audit": "{p}:audit",
        "rollout": "{p}:rollout",
        "past_rollouts": "{p}:rollouts",
        "watch": "{p}:rollout:watch",
        "watch_lease": "{p}:rollout:lease",
        "replicas": "{p}:replicas",
    }
    assert names.items() >= of_0_1.items()
    keys = StoreKeys("p")
    assert [keys.trace("x"), keys.remembered("x"), keys.policy("x"), keys.replica("x")] == [
        "{p}:trace:x",
        "{p}:remembered:x",
        "{p}:policy:x",
        "{p}:replica:x",
    ]
    assert keys.looks("x") == "{p}:looks:x"
