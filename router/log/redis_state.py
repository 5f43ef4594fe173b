"""Asks Redis, one server or a cluster, how much of the log it holds and how full it is."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from policies.shards import Shards
from policies.store_keys import RUNS, StoreKeys
from router.log.store_state import StoreState

Send = Callable[..., Awaitable[Any]]


async def read_state(send: Send, keys: StoreKeys, shards: Shards, *, cluster: bool) -> StoreState:
    """The store's state as of now; redis' errors pass through.

    Args:
        send: sends one command, given as a list, and answers what redis-py makes of the reply.
        keys: of the project.
        shards: of the log.
        cluster: whether commands without keys need to be told their nodes.
    """
    used, limit = await _memory(send, cluster=cluster)
    return StoreState(
        decisions=await _length(send, (shard.decisions for shard in shards.all)),
        feedback=await _length(send, (shard.feedback for shard in shards.all)),
        used_bytes=used,
        limit_bytes=limit,
        last_runs=await _last_runs(send, keys),
    )


async def _length(send: Send, streams: Iterable[str]) -> int:
    return sum([int(await send(["XLEN", stream])) for stream in streams])


async def _memory(send: Send, *, cluster: bool) -> tuple[int, int]:
    """Bytes used, and their limit, of the server that is closest to its limit."""
    command = ["INFO", "memory"]
    answer = await send(command, target_nodes="primaries") if cluster else await send(command)
    # Of a cluster with one primary redis-py gives the answer alone.
    servers = [answer] if "used_memory" in answer else list(answer.values())
    sizes = [(int(one["used_memory"]), int(one["maxmemory"])) for one in servers]
    return max(sizes, key=lambda size: (size[0] / size[1] if size[1] else 0.0, size[0]))


async def _last_runs(send: Send, keys: StoreKeys) -> dict[str, float]:
    noted = await send(["HMGET", keys.last_runs, *RUNS])
    return {run: float(at) for run, at in zip(RUNS, noted, strict=True) if at is not None}
