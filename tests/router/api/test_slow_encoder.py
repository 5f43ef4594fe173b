"""A slow encoder: its decisions are made off the event loop, and no more wait than may."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from policies.encoders import Encoder
from policies.registries.memory import MemoryPolicyRegistry
from router.app import create_app
from router.log.memory_store import MemoryEventStore
from router.settings import EncodingSettings, Settings


class HeldEncoder:
    """The shipped encoder, which goes on when it is let."""

    quick = False

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.version, self.dimension = encoder.version, encoder.dimension
        self.begun, self.go_on = Event(), Event()
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.begun.set()
        assert self.go_on.wait(60)
        self.encoded += texts
        return self._encoder.encode(texts)


@pytest.fixture
def held(encoder: Encoder) -> HeldEncoder:
    return HeldEncoder(encoder)


@asynccontextmanager
async def served(
    path: Path, held: HeldEncoder, queue_size: int
) -> AsyncIterator[httpx.AsyncClient]:
    """A client on the service's own event loop: where that stands still, so does the test."""
    app = create_app(
        Settings(encoding=EncodingSettings(queue_size=queue_size)),
        data=path,
        store=MemoryEventStore(),
        registry=MemoryPolicyRegistry(),
        environ={},
        encoder=held,
    )
    transport = httpx.ASGITransport(app=app)
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://a") as client,
    ):
        try:
            yield client
        finally:
            held.go_on.set()


def ask(client: httpx.AsyncClient, query: str) -> "asyncio.Task[int]":
    async def status() -> int:
        response = await client.post("/v1/route", json={"query": query})
        return response.status_code

    return asyncio.create_task(status())


async def depth(client: httpx.AsyncClient) -> int:
    text = (await client.get("/metrics")).text
    line = next(x for x in text.splitlines() if x.startswith("rag_router_encoding_depth "))
    return int(float(line.split()[-1]))


async def until_depth(client: httpx.AsyncClient, wanted: int) -> None:
    while await depth(client) != wanted:  # the test's own timeout bounds this
        await asyncio.sleep(0)


async def test_others_are_answered_while_an_encoding_is_stuck(
    tmp_path: Path, held: HeldEncoder
) -> None:
    async with served(tmp_path, held, 4) as client:
        stuck = ask(client, "first")
        await until_depth(client, 1)
        assert (await client.get("/health/live")).status_code == 200
        assert not stuck.done()
        held.go_on.set()
        assert await stuck == 200
        await until_depth(client, 0)


async def test_a_full_queue_is_a_503_that_says_when_to_try_again(
    tmp_path: Path, held: HeldEncoder
) -> None:
    async with served(tmp_path, held, 1) as client:
        waiting = [ask(client, "first"), ask(client, "second")]
        await until_depth(client, 2)
        response = await client.post("/v1/route", json={"query": "third"})
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json()["type"].endswith(":encoder-busy")
        text = (await client.get("/metrics")).text
        assert "rag_router_encoding_refused_total 1.0" in text
        held.go_on.set()
        assert await asyncio.gather(*waiting) == [200, 200]
        assert await ask(client, "fourth") == 200


async def test_a_long_text_takes_the_same_way_with_any_encoder(
    tmp_path: Path, held: HeldEncoder
) -> None:
    held.quick = True
    async with served(tmp_path, held, 4) as client:
        stuck = ask(client, "word " * 4_000)
        await until_depth(client, 1)
        held.go_on.set()
        assert await stuck == 200


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"queue_size": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EncodingSettings(**wrong)
