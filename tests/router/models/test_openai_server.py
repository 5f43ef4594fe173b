"""The client of a model server, against real sockets that fail in every way they can."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from policies.errors import SettingsError
from router.models.completion import CompletionBuilder
from router.models.errors import (
    ModelError,
    ModelGarbledError,
    ModelInterruptedError,
    ModelMisconfiguredError,
    ModelOverloadedError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnreachableError,
)
from router.models.model_server import Patience
from router.models.openai_server import OpenAIServer
from router.settings import ModelSettings
from tests.faulty_backend import FaultyBackend

BODY = {"messages": [{"role": "user", "content": "Who wrote Emma?"}]}
PATIENCE = Patience(first_token_s=10.0, total_s=10.0)
# How far past its bound a call may return on a busy machine.
SLACK_S = 1.0


@pytest.fixture
def backend() -> Iterator[FaultyBackend]:
    with FaultyBackend() as started:
        yield started


def settings(backend: FaultyBackend, **fields: object) -> ModelSettings:
    limits = {"first_token_timeout_s": 0.5, "stall_timeout_s": 0.5, "total_timeout_s": 1.0}
    return ModelSettings(base_url=backend.base_url, model="m", **{**limits, "retries": 0, **fields})  # type: ignore[arg-type]


async def answer(
    backend: FaultyBackend, patience: Patience = PATIENCE, **fields: object
) -> CompletionBuilder:
    server, builder = OpenAIServer("base", settings(backend, **fields), {}), CompletionBuilder()
    try:
        async for chunk in server.stream(BODY, patience):
            builder.add(chunk)
    finally:
        await server.close()
    return builder


@pytest.mark.parametrize("mode", ["ok", "no_usage", "json"])
async def test_an_answer_arrives_whole(backend: FaultyBackend, mode: str) -> None:
    backend.mode = mode
    builder = await answer(backend)
    assert builder.text == backend.reply
    assert builder.finish_reason == "stop"
    assert (builder.usage is None) == (mode == "no_usage")


async def test_the_request_is_streamed_with_usage_under_the_configured_model(
    backend: FaultyBackend,
) -> None:
    await answer(backend, parameters={"temperature": 0.2, "seed": 1})
    [request] = backend.requests
    assert request.path == "/v1/chat/completions"
    assert request.body == {
        **BODY,
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.2,
        "seed": 1,
    }
    assert "authorization" not in request.headers


async def test_the_key_comes_from_the_environment_and_goes_only_into_the_header(
    backend: FaultyBackend,
) -> None:
    backend.mode = "status:401"
    server = OpenAIServer("base", settings(backend, api_key_env="KEY"), {"KEY": "sk-secret"})
    with pytest.raises(ModelMisconfiguredError) as caught:
        await anext(server.stream(BODY, PATIENCE))
    await server.close()
    assert backend.requests[0].headers["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in f"{caught.value!r} {caught.value} {caught.value.said}"


def test_a_key_that_isnt_set_is_found_at_the_start(backend: FaultyBackend) -> None:
    with pytest.raises(SettingsError, match="KEY, which is unset") as caught:
        OpenAIServer("base", settings(backend, api_key_env="KEY"), {"KEY": " "})
    assert caught.value.field == "models.base.api_key_env"


@pytest.mark.parametrize(
    ("mode", "error", "bound_s"),
    [
        ("refuse", ModelUnreachableError, 0.0),
        ("reset", ModelUnreachableError, 0.0),
        ("hang", ModelTimeoutError, 0.5),
        ("hang_after_headers", ModelTimeoutError, 0.5),
        ("trickle", ModelTimeoutError, 0.5),
        ("trickle_tokens", ModelTimeoutError, 1.0),
        ("trickle_tokens:0.8", ModelTimeoutError, 1.0),
        ("slow_first_token:3", ModelTimeoutError, 0.5),
        ("reset_mid_stream", ModelInterruptedError, 0.0),
        ("cut_mid_stream", ModelInterruptedError, 0.0),
        ("end_mid_stream", ModelInterruptedError, 0.0),
        ("end_mid_stream:0", ModelUnreachableError, 0.0),
        ("garbage", ModelGarbledError, 0.0),
        ("html", ModelGarbledError, 0.0),
        ("status:301", ModelGarbledError, 0.0),
        ("status:400", ModelRefusedError, 0.0),
        ("status:404", ModelMisconfiguredError, 0.0),
        ("status:429", ModelOverloadedError, 0.0),
        ("status:500", ModelOverloadedError, 0.0),
    ],
)
async def test_every_fault_is_an_error_within_its_bound(
    backend: FaultyBackend, mode: str, error: type[ModelError], bound_s: float
) -> None:
    backend.mode = mode
    began = time.monotonic()
    with pytest.raises(error) as caught:
        await answer(backend)
    assert time.monotonic() - began < bound_s + SLACK_S
    assert type(caught.value) is error
    assert "Emma" not in str(caught.value)


async def test_the_callers_patience_is_a_bound_too(backend: FaultyBackend) -> None:
    backend.mode = "hang"
    began = time.monotonic()
    with pytest.raises(ModelTimeoutError):
        await answer(backend, Patience(0.1, 0.2), first_token_timeout_s=30.0)
    assert time.monotonic() - began < 0.1 + SLACK_S


@pytest.mark.parametrize("mode", ["reset", "status:429", "status:503", "status:429:0.01"])
async def test_what_failed_before_the_first_token_is_tried_again(
    backend: FaultyBackend, mode: str
) -> None:
    backend.next_modes.append(mode)
    builder = await answer(backend, retries=1, first_token_timeout_s=5.0, total_timeout_s=5.0)
    assert builder.text == backend.reply
    assert len(backend.requests) == 2


@pytest.mark.parametrize(
    "mode", ["hang", "status:400", "status:404", "garbage", "status:429:60", "cut_mid_stream"]
)
async def test_what_wouldnt_help_or_isnt_safe_isnt_tried_again(
    backend: FaultyBackend, mode: str
) -> None:
    backend.next_modes.append(mode)
    with pytest.raises(ModelError):
        await answer(backend, retries=3)
    assert len(backend.requests) == 1


async def test_a_server_that_overloads_says_when_to_come_back(backend: FaultyBackend) -> None:
    backend.mode = "status:429:7"
    with pytest.raises(ModelOverloadedError) as caught:
        await answer(backend)
    assert caught.value.retry_after_s == 7.0


async def test_what_a_server_said_of_a_wrong_request_is_kept_for_the_caller(
    backend: FaultyBackend,
) -> None:
    backend.mode = "status:400"
    with pytest.raises(ModelRefusedError) as caught:
        await answer(backend)
    assert caught.value.said == "told to answer 400"
    assert "told to" not in str(caught.value)


async def test_connections_are_kept_for_the_next_request(backend: FaultyBackend) -> None:
    server = OpenAIServer("base", settings(backend), {})
    for _ in range(3):
        assert [chunk async for chunk in server.stream(BODY, PATIENCE)]
    await server.close()
    assert len(backend.requests) == 3
    assert backend.connections == 1


async def test_who_stops_reading_stops_the_generation(backend: FaultyBackend) -> None:
    backend.mode = "trickle_tokens:0.01"
    server = OpenAIServer("base", settings(backend), {})
    stream = server.stream(BODY, PATIENCE)
    await anext(stream)
    await stream.aclose()
    async with asyncio.timeout(5):
        while not backend.hung_up:
            await asyncio.sleep(0.005)
    await server.close()


async def test_chunks_pass_before_the_answer_is_whole(backend: FaultyBackend) -> None:
    backend.mode = "trickle_tokens:0.05"
    server = OpenAIServer("base", settings(backend), {})
    began, times = time.monotonic(), []
    with pytest.raises(ModelTimeoutError):
        async for _ in _timed(server, times):
            pass
    await server.close()
    assert times[2] - began < 0.6
    assert len(times) > 5


async def _timed(server: OpenAIServer, times: list[float]) -> AsyncIterator[None]:
    async for _ in server.stream(BODY, PATIENCE):
        times.append(time.monotonic())
        yield
