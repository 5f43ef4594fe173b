"""The registries that share one contract."""

from collections.abc import Iterator

import pytest

from policies.registries import PolicyRegistry
from policies.registries.memory import MemoryPolicyRegistry
from policies.registries.redis_registry import RedisPolicyRegistry
from router.redis_clients import open_client
from tests.clusters import STORE_KINDS, empty_address


@pytest.fixture(params=["memory", *STORE_KINDS])
def registry(request: pytest.FixtureRequest) -> Iterator[PolicyRegistry]:
    """The twin, then the adapter on each kind of real store."""
    if request.param == "memory":
        yield MemoryPolicyRegistry()
        return
    client = open_client(empty_address(request, request.param), timeout_s=5.0)
    yield RedisPolicyRegistry(client)
    client.close()
