"""/v1/chat/completions and /v1/models with the official client, against real processes."""

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.faulty_backend import FaultyBackend
from tests.service_process import ServiceProcess
from tests.stores import wait_until

QUESTION = [{"role": "user", "content": "Who wrote the novel Emma, and when was it printed?"}]
# How far past its bound an answer may come on a busy machine.
SLACK_S = 1.0
PASSAGES = [
    {"id": "emma", "text": "Emma is a novel by Jane Austen.", "title": "Emma", "score": 0.9},
    {"id": "date", "text": "It was printed in 1815.", "score": 0.4},
]
REPLY = "Jane Austen wrote it [1], in 1815 [2][5]."
TOOL: Any = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}},
}
KEY = "sk-of-the-tuned-model"
CONFIG = """
[models.base]
base_url = "{base}/v1"
model = "base-model"
price_per_1k = {{ input = 1.0, output = 2.0 }}
first_token_timeout_s = 1.0
stall_timeout_s = 0.5
retries = 0
[models.tuned]
base_url = "{tuned}/v1"
model = "tuned-model"
api_key_env = "TUNED_KEY"
retries = 0
[retrievers.docs]
kind = "http"
url = "{base}/search"
timeout_s = 0.5
[arms.finetuned]
route = "finetuned"
model = "tuned"
expected = {{ quality = 0.5 }}
[arms.retrieve]
route = "retrieve"
model = "base"
retriever = "docs"
expected = {{ quality = 0.7 }}
[breakers]
failures = 1000
"""


@pytest.fixture(scope="module")
def base() -> Iterator[FaultyBackend]:
    with FaultyBackend(reply=REPLY, passages=PASSAGES) as started:
        yield started


@pytest.fixture(scope="module")
def tuned() -> Iterator[FaultyBackend]:
    with FaultyBackend(reply="It was Jane Austen.") as started:
        yield started


@pytest.fixture(scope="module")
def router(
    base: FaultyBackend, tuned: FaultyBackend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    data = tmp_path_factory.mktemp("chat") / "data"
    config = CONFIG.format(base=base.url, tuned=tuned.url)
    with ServiceProcess(data, config=config, environ={"TUNED_KEY": KEY}) as started:
        yield started


@pytest.fixture
def client(
    router: ServiceProcess, base: FaultyBackend, tuned: FaultyBackend
) -> Iterator[openai.OpenAI]:
    for backend in (base, tuned):
        backend.mode = "ok"
        backend.next_modes.clear()
        backend.requests.clear()
    url = f"{router.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=20.0) as opened:
        yield opened


def generations(backend: FaultyBackend) -> list[Any]:
    return [request.body for request in backend.requests if "chat" in request.path]


def read(stream: Any) -> tuple[str, list[Any]]:
    """All of a stream: the text, and the chunks."""
    chunks = list(stream)
    pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    return "".join(pieces), chunks


def test_a_completion_has_its_sources_and_says_which_arm_gave_it(
    client: openai.OpenAI, router: ServiceProcess
) -> None:
    raw = client.chat.completions.with_raw_response.create(model="arm:retrieve", messages=QUESTION)  # type: ignore[arg-type]
    completion: Any = raw.parse()
    assert completion.choices[0].message.content == "Jane Austen wrote it [1], in 1815 [2]."
    assert completion.choices[0].finish_reason == "stop"
    assert completion.object == "chat.completion"
    assert completion.usage.total_tokens == (
        completion.usage.prompt_tokens + completion.usage.completion_tokens
    )
    assert [source["id"] for source in completion.sources] == ["emma", "date"]
    assert completion.router["citations"] == {"given": 2, "cited": 2, "dropped": 1}
    assert raw.headers["x-arm"] == "retrieve"
    decision_id = raw.headers["x-decision-id"]
    assert completion.id == f"chatcmpl-{decision_id}"
    trace = router.trace(decision_id).json()
    assert trace["decision"]["propensity"] == 1.0
    assert trace["answer"]["metrics"] == completion.router["metrics"]
    assert trace["answer"]["metrics"]["cost_usd"] > 0.0


def test_a_stream_has_the_same_text_and_ends_with_the_sources(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="arm:retrieve",
        messages=QUESTION,  # type: ignore[arg-type]
        stream=True,
    )
    text, chunks = read(raw.parse())
    assert text == "Jane Austen wrote it [1], in 1815 [2]."
    assert raw.headers["x-arm"] == "retrieve"
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert {chunk.id for chunk in chunks} == {f"chatcmpl-{raw.headers['x-decision-id']}"}
    assert len(chunks) > 6
    last = chunks[-1]
    assert last.choices[0].finish_reason == "stop"
    assert [source["id"] for source in last.sources] == ["emma", "date"]
    assert not any(hasattr(chunk, "sources") for chunk in chunks[:-1])
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_at_a_streams_end_where_it_is_asked_for(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="arm:finetuned",
        messages=QUESTION,  # type: ignore[arg-type]
        stream=True,
        stream_options={"include_usage": True},
    )
    text, chunks = read(stream)
    assert text == "It was Jane Austen."
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 4)
    assert chunks[-1].sources == []


def test_fields_that_arent_the_routers_reach_the_model(
    client: openai.OpenAI, tuned: FaultyBackend
) -> None:
    client.chat.completions.create(
        model="arm:finetuned",
        messages=QUESTION,  # type: ignore[arg-type]
        temperature=0.1,
        tools=[TOOL],
        tool_choice="auto",
        response_format={"type": "json_object"},
        user="u-1",
        extra_body={"top_k": 5, "router": {"tenant": "acme"}},
    )
    [body] = generations(tuned)
    assert body == {
        "messages": QUESTION,
        "model": "tuned-model",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.1,
        "tools": [TOOL],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "user": "u-1",
        "top_k": 5,
    }


def test_brackets_in_json_are_no_citations(client: openai.OpenAI, base: FaultyBackend) -> None:
    before, base.reply = base.reply, '{"years": [15], "pages": [9]}'
    try:
        completion = client.chat.completions.create(
            model="arm:retrieve",
            messages=QUESTION,  # type: ignore[arg-type]
            response_format={"type": "json_object"},
        )
    finally:
        base.reply = before
    assert json.loads(completion.choices[0].message.content or "") == {"years": [15], "pages": [9]}


def test_routing_options_stand_in_the_body_and_in_the_models_name(
    client: openai.OpenAI, router: ServiceProcess
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="auto:cheap",
        messages=QUESTION,  # type: ignore[arg-type]
        extra_body={"router": {"tenant": "acme", "attributes": {"require_sources": True}}},
    )
    decision = router.trace(raw.headers["x-decision-id"]).json()["decision"]
    assert (decision["objective"], decision["tenant"]) == ("cheap", "acme")
    assert decision["eligible"] == ["retrieve"]


def test_yes_after_a_question_is_routed_with_it(
    client: openai.OpenAI, router: ServiceProcess, base: FaultyBackend
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="arm:retrieve",
        messages=[
            {"role": "user", "content": "Tell me about Emma."},
            {"role": "assistant", "content": "A novel. Shall I look up when it was printed?"},
            {"role": "user", "content": "yes"},
        ],
    )
    decision = router.trace(raw.headers["x-decision-id"]).json()["decision"]
    wanted = "Tell me about Emma.\nShall I look up when it was printed?\nyes"
    assert decision["query"] == wanted
    [search] = [request.body for request in base.requests if "search" in request.path]
    assert search["query"] == wanted


def test_models_are_the_names_one_may_ask_for(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert names >= {"auto", "auto:balanced", "auto:cheap", "arm:finetuned", "arm:retrieve"}
    assert client.models.retrieve("auto:cheap").id == "auto:cheap"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("arm:hybird")


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_a_clients_error(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="arm:retreive", messages=QUESTION, stream=stream)  # type: ignore[call-overload]
    assert "did you mean 'arm:retrieve'" in str(caught.value)
    assert caught.value.code == "unknown-model"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model": "auto"}, "messages"),
        ({"model": "auto", "messages": []}, "messages"),
        ({"model": "auto", "messages": [{"content": "x"}]}, "messages[0].role"),
        ({"model": "auto", "messages": [{"role": "user", "content": ""}]}, "messages"),
        ({"model": "auto", "messages": QUESTION, "stream": "yes"}, "stream"),
        ({"model": "auto", "messages": QUESTION, "router": {"tenat": "x"}}, "router.tenat"),
        (
            {"model": "auto:cheap", "messages": QUESTION, "router": {"objective": "fast"}},
            "router.objective",
        ),
        (
            {"model": "arm:retrieve", "messages": QUESTION, "router": {"arms": ["finetuned"]}},
            "router.arms",
        ),
        ([1], None),
    ],
)
def test_a_wrong_body_is_a_problem_that_names_the_field(
    client: openai.OpenAI, router: ServiceProcess, body: object, field: str | None
) -> None:
    response = router.client.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    problem = response.json()
    assert problem.get("field") == field
    assert problem["error"]["message"] == problem["detail"]
    assert problem["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", ["reset", "hang", "status:500", "status:429:30", "garbage"])
def test_a_model_that_is_down_leaves_another_arm(
    client: openai.OpenAI, base: FaultyBackend, mode: str, stream: bool
) -> None:
    base.next_modes.extend(["ok", mode])  # the search works, the model doesn't
    began = time.monotonic()
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=QUESTION,  # type: ignore[arg-type]
        stream=stream,
        extra_body={"router": {"explore": False}},
    )
    assert raw.headers["x-arm"] == "finetuned"
    # The first token may take a second; then the other arm answers at once.
    assert time.monotonic() - began < (1.0 if mode == "hang" else 0.0) + SLACK_S
    if stream:
        text, chunks = read(raw.parse())
        notes = chunks[-1].router
    else:
        completion: Any = raw.parse()
        text, notes = completion.choices[0].message.content, completion.router
    assert text == "It was Jane Austen."
    assert notes["degraded_from"] == "retrieve"


@pytest.mark.parametrize("mode", ["reset", "hang", "trickle", "status:500", "garbage", "html"])
def test_a_search_that_fails_or_is_slow_leaves_an_arm_without_it(
    client: openai.OpenAI, base: FaultyBackend, mode: str
) -> None:
    base.next_modes.extend([mode, mode])  # a connection that breaks is tried once more
    began = time.monotonic()
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=QUESTION,  # type: ignore[arg-type]
        extra_body={"router": {"explore": False}},
    )
    assert time.monotonic() - began < 0.5 + SLACK_S
    assert raw.headers["x-arm"] == "finetuned"
    completion: Any = raw.parse()
    assert completion.router["degraded_from"] == "retrieve"
    assert "search service" in completion.router["notes"][0]
    assert not generations(base)


def test_a_stream_passes_as_it_comes(
    client: openai.OpenAI, router: ServiceProcess, tuned: FaultyBackend
) -> None:
    tuned.mode = "trickle_tokens:0.2"  # for ever: what isn't passed on at once never comes
    body = {"model": "arm:finetuned", "messages": QUESTION, "stream": True}
    began = time.monotonic()
    with httpx.stream("POST", f"{router.url}/v1/chat/completions", json=body) as response:
        words = (line for line in response.iter_lines() if '"word "' in line)
        next(words)
        first = time.monotonic() - began
        for _ in range(3):
            next(words)
        fourth = time.monotonic() - began
    assert first < 0.2 + SLACK_S
    assert 0.5 < fourth - first < 0.6 + SLACK_S


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("cut_mid_stream:2", "Jane Austen"),
        ("reset_mid_stream:2", "Jane Austen"),
        ("end_mid_stream:2", "Jane Austen"),
        ("trickle_tokens:0.8", "word"),  # longer than a stream may stall
    ],
)
def test_an_answer_cut_in_mid_stream_is_continued_by_another_arm(
    client: openai.OpenAI,
    router: ServiceProcess,
    base: FaultyBackend,
    tuned: FaultyBackend,
    mode: str,
    words: str,
) -> None:
    base.next_modes.extend(["ok", mode])
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=QUESTION,  # type: ignore[arg-type]
        stream=True,
        extra_body={"router": {"explore": False}},
    )
    text, chunks = read(raw.parse())
    assert raw.headers["x-arm"] == "retrieve"
    assert text == f"{words}It was Jane Austen."
    roles = [choice.delta.role for chunk in chunks for choice in chunk.choices]
    assert roles.count("assistant") == 1
    assert chunks[-1].router["degraded_from"] == "retrieve"
    [body] = generations(tuned)
    assert body["messages"][-2] == {"role": "assistant", "content": words}
    assert "cut off" in body["messages"][-1]["content"]
    answer = router.trace(raw.headers["x-decision-id"]).json()["answer"]
    assert answer["executed_arm"] == "finetuned"
    assert "cost_usd" not in answer["metrics"]  # the cut answer's tokens weren't told


def test_json_that_is_cut_isnt_continued_by_another_model(
    client: openai.OpenAI, base: FaultyBackend, tuned: FaultyBackend
) -> None:
    base.next_modes.extend(["ok", "cut_mid_stream:2"])
    stream = client.chat.completions.create(
        model="auto",
        messages=QUESTION,  # type: ignore[arg-type]
        stream=True,
        response_format={"type": "json_object"},
        extra_body={"router": {"explore": False}},
    )
    with pytest.raises(openai.APIError, match="broke off"):
        list(stream)
    assert not generations(tuned)


def test_a_stream_that_nobody_can_continue_ends_with_an_error(
    client: openai.OpenAI, router: ServiceProcess, base: FaultyBackend, tuned: FaultyBackend
) -> None:
    base.next_modes.extend(["ok", "cut_mid_stream:2"])
    tuned.mode = "status:500"
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=QUESTION,  # type: ignore[arg-type]
        stream=True,
        extra_body={"router": {"explore": False}},
    )
    with pytest.raises(openai.APIError, match="broke off"):
        list(raw.parse())
    answer = router.trace(raw.headers["x-decision-id"]).json()["answer"]
    assert "broke off" in answer["error"]


@pytest.mark.parametrize("stream", [False, True])
def test_all_arms_down_is_503_with_retry_after(
    client: openai.OpenAI, base: FaultyBackend, tuned: FaultyBackend, stream: bool
) -> None:
    base.mode = tuned.mode = "refuse"
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="auto", messages=QUESTION, stream=stream)  # type: ignore[call-overload]
    assert caught.value.status_code == 503
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert caught.value.code == "no-answer"


def test_a_caller_who_hangs_up_stops_the_generation_and_is_logged(
    client: openai.OpenAI, router: ServiceProcess, tuned: FaultyBackend
) -> None:
    tuned.mode = "trickle_tokens:0.02"
    before = tuned.hung_up
    body = {"model": "arm:finetuned", "messages": QUESTION, "stream": True}
    with httpx.stream("POST", f"{router.url}/v1/chat/completions", json=body) as response:
        decision_id = response.headers["x-decision-id"]
        next(response.iter_bytes())
    wait_until(lambda: tuned.hung_up > before)
    wait_until(lambda: router.trace(decision_id).json()["answer"])
    answer = router.trace(decision_id).json()["answer"]
    assert (answer["error"], answer["metrics"]) == (
        "the caller went away, or the service stopped",
        {},
    )


def test_a_caller_who_doesnt_wait_for_a_whole_answer_stops_it(
    client: openai.OpenAI, router: ServiceProcess, tuned: FaultyBackend
) -> None:
    tuned.mode = "trickle_tokens:0.02"
    before = tuned.hung_up
    for path, body in (
        ("answer", {"query": "Who wrote Emma?", "arms": ["finetuned"]}),
        ("chat/completions", {"model": "arm:finetuned", "messages": QUESTION}),
    ):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{router.url}/v1/{path}", json=body, timeout=0.5)
    wait_until(lambda: tuned.hung_up == before + 2)


def test_a_reader_that_stops_reading_doesnt_hold_the_model(
    tuned: FaultyBackend, base: FaultyBackend, tmp_path: Path
) -> None:
    """Its deadline ends the generation, and nobody's breaker opens."""
    config = CONFIG.format(base=base.url, tuned=tuned.url) + "[answers]\ndeadline_s = 1.5\n"
    config = config.replace("failures = 1000", "failures = 1")
    body = json.dumps({"model": "arm:finetuned", "messages": QUESTION, "stream": True})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with (
        FaultyBackend(reply=" ".join(["x" * 50_000] * 400)) as flooding,
        ServiceProcess(
            tmp_path / "data",
            config=config.replace(tuned.url, flooding.url),
            environ={"TUNED_KEY": KEY},
        ) as service,
        socket.create_connection(("127.0.0.1", service.client.base_url.port or 0)) as caller,
    ):
        caller.sendall((head + body).encode())
        named = re.search(rb"x-decision-id: (\S+)", caller.recv(500))
        assert named is not None
        decision_id = named.group(1).decode()
        wait_until(lambda: service.trace(decision_id).json()["answer"])
        assert service.trace(decision_id).json()["answer"]["error"]
        flooding.reply = "Fine."
        answer = {"query": "Who wrote Emma?", "arms": ["finetuned"]}
        assert service.client.post("/v1/answer", json=answer).json()["answer"] == "Fine."
        assert service.client.get("/health/ready").json()["status"] == "ready"


def test_feedback_may_name_the_completion(client: openai.OpenAI, router: ServiceProcess) -> None:
    completion = client.chat.completions.create(model="auto", messages=QUESTION)  # type: ignore[arg-type]
    feedback = {"decision_id": completion.id, "metric": "quality", "value": 1.0}
    router.client.post("/v1/feedback", json=feedback).raise_for_status()
    [given] = router.trace(completion.id.removeprefix("chatcmpl-")).json()["feedback"]
    assert given["value"] == 1.0


def test_a_backends_key_is_nowhere_to_be_seen(
    client: openai.OpenAI, router: ServiceProcess, tuned: FaultyBackend
) -> None:
    tuned.mode = "status:401"
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="arm:finetuned", messages=QUESTION)  # type: ignore[arg-type]
    assert generations(tuned)
    assert tuned.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    decision_id = caught.value.response.headers["x-decision-id"]
    for text in (caught.value.response.text, router.trace(decision_id).text, router.log):
        assert KEY not in text
        assert "Bearer" not in text
