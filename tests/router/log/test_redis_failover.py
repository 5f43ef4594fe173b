"""The log's store while a primary dies or hangs and another takes its place."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis

from policies.registries.redis_registry import RedisPolicyRegistry
from policies.store_url import StoreAddress, parse_store_url
from router.log.errors import StoreUnavailableError
from router.log.redis_store import RedisEventStore
from router.redis_clients import AsyncClient, open_client
from tests.clusters import Node, RunningCluster, WatchedPrimary
from tests.event_factory import decision, feedback
from tests.stores import wait_until

# One call may take two seconds, and looking for a successor adds a little.
_LONGEST_CALL_S = 4.0
_RECOVERED_WITHIN_S = 30.0


@asynccontextmanager
async def opened(
    where: str | StoreAddress, *, shards: int = 3, wait_replicas: int = 0
) -> AsyncIterator[RedisEventStore]:
    store = RedisEventStore.from_url(where, shards=shards, wait_replicas=wait_replicas)
    try:
        yield store
    finally:
        await store.close()


async def append_until_stored(store: RedisEventStore, number: int) -> int:
    """Send one batch over every shard again and again; how many were new when it was taken."""
    batch = [decision(10 * number + i) for i in range(10)]
    deadline = time.monotonic() + _RECOVERED_WITHIN_S
    while True:
        began = time.monotonic()
        try:
            return await store.append(batch)
        except StoreUnavailableError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        finally:
            assert time.monotonic() - began < _LONGEST_CALL_S


async def assert_all_there(store: RedisEventStore, count: int) -> None:
    for number in range(count):
        trace = await store.trace(decision(number).decision_id)
        assert trace is not None, number
        assert trace.decision == decision(number)


def stop(node: Node, how: str) -> None:
    assert node.process is not None
    if how == "dies":
        node.kill()
    else:
        os.kill(node.process.pid, signal.SIGSTOP)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dies", "hangs"])
async def test_a_cluster_whose_primary_is_gone_takes_events_again(
    redis_cluster: RunningCluster, how: str
) -> None:
    """And what was acknowledged before is there; a batch sent again adds nothing twice."""
    async with opened(redis_cluster.url, wait_replicas=1) as store:
        await store.append([decision(number) for number in range(10)])
    async with opened(redis_cluster.url) as store:
        await store.ping()
        stop(redis_cluster.primary_of("{rag}:decisions"), how)
        await append_until_stored(store, 1)
        assert await store.append([decision(number) for number in range(20)]) == 0
        await store.ping()
        await assert_all_there(store, 20)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dies", "hangs"])
async def test_sentinels_lead_to_the_new_primary(watched_primary: WatchedPrimary, how: str) -> None:
    """The old one's replicas follow it, so writes can wait for a replica all along."""
    async with opened(watched_primary.address, shards=1, wait_replicas=1) as store:
        await store.append([decision(number) for number in range(10)])
        before = watched_primary.primary()
        stop(before, how)
        await append_until_stored(store, 1)
        wait_until(lambda: watched_primary.primary() is not before)
        assert await store.append([decision(number) for number in range(20)]) == 0
        await assert_all_there(store, 20)


@pytest.mark.slow
async def test_nothing_counts_as_stored_while_too_few_replicas_have_it(
    redis_cluster: RunningCluster,
) -> None:
    """A primary that lost its replica could take an event with it."""
    async with opened(redis_cluster.url, wait_replicas=1) as store:
        await store.append([decision(number) for number in range(10)])
        dead = redis_cluster.primary_of("{rag}:decisions")
        replica = redis_cluster.nodes[3 + redis_cluster.nodes.index(dead)]
        replica.kill()
        with pytest.raises(StoreUnavailableError, match="reached 0 of the 1 replicas"):
            await store.append([decision(number) for number in range(10, 20)])
        with pytest.raises(StoreUnavailableError, match="reached 0 of the 1 replicas"):
            await store.ping()
        # It arrived all the same and is known when sent again: that mustn't pass for stored.
        with pytest.raises(StoreUnavailableError, match="reached 0 of the 1 replicas"):
            await store.append([decision(number) for number in range(10, 20)])
        replica.start()
        assert await append_until_stored(store, 1) == 0
        await store.ping()


async def test_a_slot_that_moves_is_followed(redis_cluster: RunningCluster) -> None:
    """As when a cluster is given more nodes."""
    async with opened(redis_cluster.url, shards=1, wait_replicas=1) as store:
        await store.append([decision(1)])
        source = redis_cluster.primary_of("{rag}:decisions")
        source.ask("FLUSHALL")
        target = next(node for node in redis_cluster.nodes[:3] if node is not source)
        slot = source.ask("CLUSTER", "KEYSLOT", "{rag}:decisions")
        for node in redis_cluster.nodes[:3]:
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.ask("CLUSTER", "MYID"))
        assert await store.append([decision(2)]) == 1
        assert target.ask("XLEN", "{rag}:decisions") == 1


@pytest.mark.slow
def test_the_registry_is_found_again_at_the_new_primary(redis_cluster: RunningCluster) -> None:
    """Its client says RedisError meanwhile, and sends nothing twice."""
    client = open_client(parse_store_url(redis_cluster.url), timeout_s=2.0)
    registry = RedisPolicyRegistry(client)
    assert registry.generation() == 0
    redis_cluster.primary_of("{rag}:generation").kill()

    def answers() -> bool:
        try:
            return registry.hold_watch("me", 1.0)
        except redis.RedisError:
            return False

    assert not answers()
    wait_until(answers)
    client.close()


def test_a_cluster_that_is_away_is_a_redis_error_until_it_comes(
    redis_cluster: RunningCluster,
) -> None:
    """A replica must start without its registry; the library's own class can't even be made."""
    for node in redis_cluster.nodes:
        node.kill()
    client = open_client(parse_store_url(redis_cluster.url), timeout_s=0.5)
    registry = RedisPolicyRegistry(client)
    with pytest.raises(redis.RedisError):
        registry.generation()
    for node in redis_cluster.nodes:
        node.start()
    wait_until(redis_cluster.is_whole)
    assert registry.generation() == 0
    client.close()


async def test_a_connection_closed_under_a_call_is_an_error_of_ours() -> None:
    """As redis-py's cluster client does, seen when a primary died: the stream is None then."""

    class Closed:
        async def execute_command(self, *_: object) -> None:
            raise AttributeError("'NoneType' object has no attribute 'writelines'")

        async def aclose(self) -> None:
            return

    closed = Closed()
    store = RedisEventStore(AsyncClient(closed, True, closed.aclose))
    with pytest.raises(StoreUnavailableError, match="closed by another call"):
        await store.ping()


async def test_a_server_without_replicas_has_none_that_could_acknowledge(valkey_url: str) -> None:
    async with opened(valkey_url, shards=1, wait_replicas=1) as store:
        with pytest.raises(StoreUnavailableError, match="reached 0 of the 1 replicas"):
            await store.append([feedback(1)])
