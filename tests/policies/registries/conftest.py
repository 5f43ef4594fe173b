"""The registries that share one contract."""

from collections.abc import Iterator

import pytest
import redis

from policies.registries import PolicyRegistry
from policies.registries.memory import MemoryPolicyRegistry
from policies.registries.redis_registry import RedisPolicyRegistry
from tests.stores import KINDS, empty_shared


@pytest.fixture(params=["memory", *KINDS])
def registry(request: pytest.FixtureRequest) -> Iterator[PolicyRegistry]:
    """The twin, then the adapter on each kind of real server."""
    if request.param == "memory":
        yield MemoryPolicyRegistry()
        return
    with redis.Redis.from_url(empty_shared(request, request.param)) as client:
        yield RedisPolicyRegistry(client)
