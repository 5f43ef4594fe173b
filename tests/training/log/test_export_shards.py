"""Export of a log over several shards: each stream has a position and files of its own."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import redis

from policies.events import Event
from policies.store_url import StoreAddress
from router.log.redis_store import RedisEventStore
from tests.clusters import empty_address
from tests.event_factory import answer, decision, feedback
from training.log.export import ExportReport, LogExport
from training.log.store import connect


@pytest.fixture(params=["valkey", "cluster"])
def address(request: pytest.FixtureRequest) -> StoreAddress:
    """One server that holds every shard, and a cluster whose primaries have one each."""
    return empty_address(request, request.param)


def append(address: StoreAddress, events: Sequence[Event], *, shards: int) -> None:
    """Store the events as the service does."""

    async def run() -> None:
        store = RedisEventStore.from_url(address, shards=shards)
        await store.append(events)
        await store.close()

    asyncio.run(run())


def url_of(address: StoreAddress) -> str:
    hosts = ",".join(f"{host}:{port}" for host, port in address.nodes)
    return address.url or f"redis+cluster://{hosts}"


def export(address: StoreAddress, directory: Path, *, trim: bool = False) -> ExportReport:
    with connect(url_of(address)) as client, LogExport(client, directory) as run:
        return run.run(trim=trim)


def ids(directory: Path, kind: str, column: str = "decision_id") -> list[str]:
    files = sorted((directory / kind).glob("**/*.parquet"))
    return sorted(v for file in files for v in pq.ParquetFile(file).read()[column].to_pylist())


def test_every_shard_is_exported_once_and_trimmed(address: StoreAddress, tmp_path: Path) -> None:
    numbers = range(60)
    everything = [kind(n) for n in numbers for kind in (decision, answer, feedback)]
    append(address, everything, shards=3)
    report = export(address, tmp_path, trim=True)
    assert (report.decisions, report.answers, report.feedback, report.trimmed) == (60, 60, 60, 180)
    assert export(address, tmp_path) == ExportReport()
    append(address, [decision(number) for number in range(50, 70)], shards=3)
    assert export(address, tmp_path).decisions == 10
    assert ids(tmp_path, "decisions") == [decision(number).decision_id for number in range(70)]


def test_shards_that_are_added_later_are_exported_too(valkey_url: str, tmp_path: Path) -> None:
    """A log that was exported while it had one goes on where it was."""
    address = StoreAddress(kind="server", url=valkey_url)
    append(address, [decision(number) for number in range(10)], shards=1)
    assert export(address, tmp_path).decisions == 10
    append(address, [decision(number) for number in range(10, 20)], shards=3)
    with redis.Redis.from_url(valkey_url) as client:  # as a minute later
        client.xadd("{rag/1.796}:decisions", {"e": b"damaged"})
        noted = client.get("{rag}:shards")
        assert b"{rag/1.796}" in noted  # type: ignore[operator]
    report = export(address, tmp_path)
    assert (report.decisions, report.damaged) == (10, 1)
