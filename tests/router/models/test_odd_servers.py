"""Streams as real servers send them, and worse: each is an answer, or an error of the tree."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from router.models.completion import CompletionBuilder
from router.models.errors import (
    ModelBusyError,
    ModelError,
    ModelGarbledError,
    ModelInterruptedError,
    ModelRefusedError,
    ModelUnreachableError,
)
from router.models.model_server import Patience
from router.models.openai_server import OpenAIServer
from router.settings import ModelSettings
from tests.faulty_backend import FaultyBackend

BODY = {"messages": [{"role": "user", "content": "Who wrote Emma?"}]}
PATIENCE = Patience(10.0, 10.0)
DONE = "data: [DONE]\n\n"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


def event(data: object) -> str:
    return f"data: {json.dumps(data)}\n\n"


def piece(delta: object, finish: str | None = None, index: int = 0) -> str:
    return event({"choices": [{"index": index, "delta": delta, "finish_reason": finish}]})


class Speaker:
    """A server that sends what it is given, byte for byte, on a real socket."""

    def __init__(self) -> None:
        self.says, self.media_type, self.encoding = "", "text/event-stream", "identity"
        speaker = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                body = speaker.says.encode()
                self.send_response(200)
                self.send_header("content-type", speaker.media_type)
                self.send_header("content-encoding", speaker.encoding)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    async def answer(self, **body: object) -> CompletionBuilder:
        url = f"http://127.0.0.1:{self.server.server_port}/v1"
        settings = ModelSettings(base_url=url, model="m", retries=0)
        server, builder = OpenAIServer("base", settings, {}), CompletionBuilder()
        try:
            async for chunk in server.stream({**BODY, **body}, PATIENCE):
                builder.add(chunk)
        finally:
            await server.close()
        return builder


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    started = Speaker()
    yield started
    started.server.shutdown()
    started.server.server_close()


@pytest.mark.parametrize(
    "says",
    [
        event({"choices": [], "prompt_filter_results": []})
        + piece({"content": "Jane"})
        + piece({"content": " Austen"}, "stop")
        + DONE,
        ": keep-alive\r\n\r\n"
        + piece({"content": "Jane Austen"}).replace("\n", "\r\n")
        + piece({}, "stop")
        + DONE,
        "event: ping\n" + event({"type": "ping"}) + piece({"content": "Jane Austen"}, "stop"),
        piece(None) + piece({"content": "Jane Austen", "tool_calls": None}) + piece(None, "stop"),
        piece(
            {"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Jane "}]}
        )
        + piece({"content": "Austen"}, "stop"),
        piece({"content": "Jane Austen"}, "stop") + event({"usage": USAGE}) + DONE,
        piece({"content": "Jane Austen"}, "stop") + event({"error": {"message": "late"}}),
        piece({"reasoning_content": "Hm."}) + piece({"content": "Jane Austen"}, "stop") + DONE,
    ],
)
async def test_what_real_servers_send_is_understood(speaker: Speaker, says: str) -> None:
    speaker.says = says
    builder = await speaker.answer()
    assert builder.text == "Jane Austen"
    assert builder.finish_reason == "stop"
    assert builder.usage == (USAGE if '"usage"' in says else None)


@pytest.mark.parametrize(
    ("says", "error"),
    [
        ("", ModelUnreachableError),
        (DONE, ModelGarbledError),
        (event({"choices": []}) + DONE, ModelGarbledError),
        (event({"choices": "x"}), ModelGarbledError),
        (event({"choices": ["x"]}), ModelGarbledError),
        (event([1]), ModelGarbledError),
        (piece("x"), ModelGarbledError),
        (piece({"content": 7}), ModelGarbledError),
        (piece({"tool_calls": "x"}), ModelGarbledError),
        (piece({"tool_calls": [None]}), ModelGarbledError),
        (piece({"tool_calls": [{"index": {}}]}), ModelGarbledError),
        (event({"choices": [{"index": [0], "delta": {"content": "x"}}]}), ModelGarbledError),
        (event({"error": {"code": []}}), ModelUnreachableError),
        ("data: " + "[" * 100_000 + "\n\n", ModelGarbledError),
        (event({"error": {"code": 400, "message": "too long"}}), ModelRefusedError),
        (event({"error": {"code": 500}}), ModelUnreachableError),
        (piece({"content": "Jane"}) + event({"error": {"code": 400}}), ModelInterruptedError),
        (piece({"content": "Jane"}) + event({"error": "lost"}), ModelInterruptedError),
    ],
)
async def test_what_no_server_should_send_is_an_error(
    speaker: Speaker, says: str, error: type[ModelError]
) -> None:
    speaker.says = says
    with pytest.raises(error) as caught:
        await speaker.answer()
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "completion",
    [{}, [], {"choices": []}, {"choices": [{}]}, {"choices": [{"message": "x"}]}, {"choices": 7}],
)
async def test_a_completion_that_is_none_is_an_error(speaker: Speaker, completion: object) -> None:
    speaker.media_type, speaker.says = "application/json", json.dumps(completion)
    with pytest.raises(ModelGarbledError):
        await speaker.answer()


async def test_a_body_that_cant_be_unpacked_is_an_error(speaker: Speaker) -> None:
    speaker.encoding, speaker.says = "gzip", piece({"content": "x"}, "stop")
    with pytest.raises(ModelGarbledError):
        await speaker.answer()


@pytest.mark.parametrize("n", [0, -3, "2", None])
async def test_an_odd_number_of_choices_is_the_servers_to_judge(
    speaker: Speaker, n: object
) -> None:
    speaker.says = piece({"content": "Jane"}) + piece({"content": " Austen"}, "stop") + DONE
    assert (await speaker.answer(n=n)).text == "Jane Austen"


async def test_every_choice_has_to_end(speaker: Speaker) -> None:
    both = piece({"content": "a"}, "stop", 0) + piece({"content": "b"}, None, 1)
    speaker.says = both + piece({}, "stop", 1) + DONE
    builder = await speaker.answer(n=2)
    texts = [choice["message"]["content"] for choice in builder.completion()["choices"]]
    assert texts == ["a", "b"]
    speaker.says = both
    with pytest.raises(ModelInterruptedError):
        await speaker.answer(n=2)


async def test_waiting_for_a_connection_of_ours_isnt_the_servers_fault() -> None:
    with FaultyBackend("trickle_tokens:0.02") as backend:
        settings = ModelSettings(
            base_url=backend.base_url, model="m", max_connections=1, first_token_timeout_s=0.4
        )
        server = OpenAIServer("base", settings, {})
        first = server.stream(BODY, PATIENCE)
        await anext(first)
        with pytest.raises(ModelBusyError) as caught:
            await anext(server.stream(BODY, PATIENCE))
        assert not caught.value.trips
        await first.aclose()
        await server.close()
        assert len(backend.requests) == 1


@pytest.mark.parametrize(("patience_s", "trips"), [(0.1, False), (5.0, True)])
async def test_a_server_that_had_little_time_isnt_blamed(patience_s: float, trips: bool) -> None:
    with FaultyBackend("hang") as backend:
        settings = ModelSettings(
            base_url=backend.base_url, model="m", first_token_timeout_s=0.5, retries=0
        )
        server = OpenAIServer("base", settings, {})
        with pytest.raises(ModelError) as caught:
            await anext(server.stream(BODY, Patience(patience_s, 10.0)))
        assert caught.value.trips is trips
        await server.close()
