"""The faulty backend fails as told; else the tests that lean on it would prove nothing."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.faulty_backend import FaultyBackend
from tests.stores import wait_until

CHAT = {"messages": [{"role": "user", "content": "Who wrote Emma?"}], "stream": True}
PASSAGES = [{"id": "1", "text": "Emma is a novel by Jane Austen.", "score": 0.9}]
# Long enough for a busy machine to answer, short enough to wait for in vain.
BRIEF_S = 0.3


@pytest.fixture
def backend() -> Iterator[FaultyBackend]:
    with FaultyBackend(passages=PASSAGES) as running:
        yield running


@asynccontextmanager
async def asked(backend: FaultyBackend, timeout: float = 10.0) -> AsyncIterator[httpx.Response]:
    """A streamed completion."""
    async with (
        httpx.AsyncClient(base_url=backend.base_url, timeout=timeout) as client,
        client.stream("POST", "/chat/completions", json=CHAT) as response,
    ):
        yield response


async def events(response: httpx.Response) -> AsyncIterator[str]:
    """The data of each event."""
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            yield line.removeprefix("data: ")


def text_of(data: list[str]) -> str:
    """The words of a stream."""
    chunks = [json.loads(each) for each in data if each != "[DONE]"]
    return "".join(choice["delta"].get("content", "") for c in chunks for choice in c["choices"])


async def collect(backend: FaultyBackend, data: list[str]) -> None:
    """Add the events of one stream as they come, those before an error too."""
    async with asked(backend) as response:
        async for each in events(response):
            data.append(each)


def search(backend: FaultyBackend, timeout: float = 10.0) -> httpx.Response:
    return httpx.post(backend.search_url, json={"query": "Emma", "k": 3}, timeout=timeout)


async def test_ok_streams_role_words_finish_usage_and_done(backend: FaultyBackend) -> None:
    async with asked(backend) as response:
        data = [each async for each in events(response)]
    assert response.headers["content-type"] == "text/event-stream"
    assert json.loads(data[0])["choices"][0]["delta"]["role"] == "assistant"
    assert text_of(data) == backend.reply
    assert len(data) == 1 + len(backend.reply.split()) + 3
    assert json.loads(data[-3])["choices"][0]["finish_reason"] == "stop"
    assert json.loads(data[-2])["usage"]["completion_tokens"] == len(backend.reply.split())
    assert data[-1] == "[DONE]"


async def test_no_usage_streams_all_but_the_usage(backend: FaultyBackend) -> None:
    backend.mode = "no_usage"
    async with asked(backend) as response:
        data = [each async for each in events(response)]
    assert text_of(data) == backend.reply
    assert not any("usage" in each for each in data)


@pytest.mark.parametrize(("mode", "stream"), [("json", True), ("ok", False)])
def test_a_completion_in_one_piece(backend: FaultyBackend, mode: str, stream: bool) -> None:
    backend.mode = mode
    response = httpx.post(f"{backend.base_url}/chat/completions", json={**CHAT, "stream": stream})
    assert response.headers["content-type"] == "application/json"
    assert response.json()["choices"][0]["message"]["content"] == backend.reply


async def test_refuse_closes_the_port_and_ok_opens_the_same_again(backend: FaultyBackend) -> None:
    url = backend.url
    for _ in range(3):
        backend.mode = "refuse"
        with pytest.raises(httpx.ConnectError):
            async with asked(backend):
                pass
        backend.mode = "ok"
        async with asked(backend) as response:
            assert response.status_code == 200
    assert backend.url == url


async def test_refuse_breaks_answers_under_way(backend: FaultyBackend) -> None:
    backend.mode = "trickle_tokens"
    data: list[str] = []
    collecting = asyncio.create_task(collect(backend, data))
    while not data:
        await asyncio.sleep(0.001)
    backend.mode = "refuse"
    with pytest.raises(httpx.ReadError):
        await collecting


async def test_hang_never_sends_headers(backend: FaultyBackend) -> None:
    backend.mode = "hang"
    with pytest.raises(httpx.ReadTimeout):
        async with asked(backend, BRIEF_S):
            pass
    assert len(backend.requests) == 1


async def test_hang_after_headers_sends_nothing_more(backend: FaultyBackend) -> None:
    backend.mode = "hang_after_headers"
    async with asked(backend, BRIEF_S) as response:
        assert response.status_code == 200
        with pytest.raises(httpx.ReadTimeout):
            await response.aread()


async def test_reset_answers_nothing(backend: FaultyBackend) -> None:
    backend.mode = "reset"
    with pytest.raises(httpx.ReadError):
        async with asked(backend):
            pass


@pytest.mark.parametrize(
    ("mode", "error"),
    [("reset_mid_stream", httpx.ReadError), ("cut_mid_stream", httpx.RemoteProtocolError)],
)
async def test_a_stream_that_breaks_off(
    backend: FaultyBackend, mode: str, error: type[Exception]
) -> None:
    backend.mode = f"{mode}:4"
    data: list[str] = []
    with pytest.raises(error):
        await collect(backend, data)
    assert text_of(data) == "Emma was written by"


async def test_end_mid_stream_looks_like_an_orderly_end(backend: FaultyBackend) -> None:
    backend.mode = "end_mid_stream:2"
    async with asked(backend) as response:
        data = [each async for each in events(response)]
    assert text_of(data) == "Emma was"
    assert not any('finish_reason": "stop' in each or each == "[DONE]" for each in data)


async def test_trickle_sends_comments_and_never_a_word(backend: FaultyBackend) -> None:
    backend.mode = "trickle:0.01"
    lines = []
    async with asked(backend) as response:
        async for line in response.aiter_lines():
            lines.append(line)
            if len(lines) == 20:
                break
    assert set(lines) == {": still here", ""}


async def test_trickle_tokens_sends_words_without_end(backend: FaultyBackend) -> None:
    backend.mode = "trickle_tokens:0.01"
    data = []
    async with asked(backend) as response:
        async for each in events(response):
            data.append(each)
            if len(data) == 20:
                break
    assert text_of(data) == "word " * 19


async def test_slow_first_token_sends_headers_at_once(backend: FaultyBackend) -> None:
    backend.mode = f"slow_first_token:{BRIEF_S}"
    began = time.monotonic()
    async with asked(backend) as response:
        headers_s = time.monotonic() - began
        data = [each async for each in events(response)]
    assert headers_s < time.monotonic() - began - 0.8 * BRIEF_S
    assert text_of(data) == backend.reply


async def test_garbage_is_an_event_without_json(backend: FaultyBackend) -> None:
    backend.mode = "garbage"
    async with asked(backend) as response:
        [data] = [each async for each in events(response)]
    with pytest.raises(json.JSONDecodeError):
        json.loads(data)


async def test_html_is_a_page(backend: FaultyBackend) -> None:
    backend.mode = "html"
    async with asked(backend) as response:
        assert "<p>" in (await response.aread()).decode()
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html"


@pytest.mark.parametrize(
    ("mode", "status", "retry_after"),
    [("status:429:2", 429, "2"), ("status:429", 429, None), ("status:500", 500, None)],
)
async def test_status_answers_with_that_status(
    backend: FaultyBackend, mode: str, status: int, retry_after: str | None
) -> None:
    backend.mode = mode
    async with asked(backend) as response:
        await response.aread()
    assert response.status_code == status
    assert response.json()["error"]["code"] == status
    assert response.headers.get("retry-after") == retry_after


async def test_queued_modes_hold_for_one_request_each(backend: FaultyBackend) -> None:
    backend.next_modes.extend(["status:503", "status:400"])
    async with httpx.AsyncClient(base_url=backend.base_url) as client:
        statuses = [
            (await client.post("/chat/completions", json=CHAT)).status_code for _ in range(3)
        ]
    assert statuses == [503, 400, 200]
    assert backend.connections == 1


def test_requests_are_recorded(backend: FaultyBackend) -> None:
    httpx.post(
        f"{backend.base_url}/chat/completions", json=CHAT, headers={"Authorization": "Bearer k"}
    )
    search(backend)
    chat, found = backend.requests
    assert (chat.path, chat.body) == ("/v1/chat/completions", CHAT)
    assert chat.headers["authorization"] == "Bearer k"
    assert (found.path, found.body["query"]) == ("/search", "Emma")


@pytest.mark.parametrize("mode", ["hang", "hang_after_headers", "trickle"])
async def test_a_client_that_hangs_up_is_noticed(backend: FaultyBackend, mode: str) -> None:
    backend.mode = mode
    with pytest.raises((httpx.ReadTimeout, TimeoutError)):
        async with asked(backend, 0.02) as response:
            await response.aread()
    wait_until(lambda: backend.hung_up == 1)


async def test_one_that_waits_holds_up_no_other(backend: FaultyBackend) -> None:
    backend.next_modes.append("hang")
    hanging = asyncio.create_task(collect(backend, []))
    while not backend.requests:
        await asyncio.sleep(0.001)
    data: list[str] = []
    await collect(backend, data)
    assert text_of(data) == backend.reply
    assert not hanging.done()
    hanging.cancel()


@pytest.mark.parametrize("mode", ["ok", "json", "slow_first_token:0.01"])
def test_a_search_finds_the_passages(backend: FaultyBackend, mode: str) -> None:
    backend.mode = mode
    assert search(backend).json() == {"passages": PASSAGES}


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("refuse", httpx.ConnectError),
        ("hang", httpx.ReadTimeout),
        ("hang_after_headers", httpx.ReadTimeout),
        ("reset", httpx.ReadError),
        ("reset_mid_stream", httpx.ReadError),
        ("cut_mid_stream", httpx.RemoteProtocolError),
    ],
)
def test_a_search_that_fails_on_the_wire(
    backend: FaultyBackend, mode: str, error: type[Exception]
) -> None:
    backend.mode = mode
    with pytest.raises(error):
        search(backend, BRIEF_S)


@pytest.mark.parametrize("mode", ["garbage", "html", "end_mid_stream"])
def test_a_search_that_answers_nonsense(backend: FaultyBackend, mode: str) -> None:
    backend.mode = mode
    with pytest.raises(json.JSONDecodeError):
        search(backend).json()


def test_a_search_that_trickles_sends_white_space(backend: FaultyBackend) -> None:
    backend.mode = "trickle:0.01"
    received = b""
    with httpx.stream("POST", backend.search_url, json={"query": "Emma"}) as response:
        for piece in response.iter_bytes():
            received += piece
            if len(received) > 20:
                break
    assert not received.strip()


def test_an_unknown_mode_is_an_error(backend: FaultyBackend) -> None:
    with pytest.raises(ValueError, match="unknown mode"):
        backend.mode = "reset_midstream"
