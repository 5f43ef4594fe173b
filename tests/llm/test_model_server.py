"""The real model server does what the tests that lean on it expect of it."""

import json

import httpx
import pytest

from tests.model_servers import LanguageModelServer

CHAT = {
    "model": LanguageModelServer.model,
    "messages": [{"role": "user", "content": "Emma was written by Jane Austen. Who wrote Emma?"}],
    "max_tokens": 16,
    "temperature": 0,
}


pytestmark = pytest.mark.llm


def complete(language_model: LanguageModelServer) -> str:
    """An answer in one piece."""
    response = httpx.post(f"{language_model.base_url}/chat/completions", json=CHAT, timeout=60)
    text: str = response.raise_for_status().json()["choices"][0]["message"]["content"]
    return text


def test_it_names_its_model(language_model: LanguageModelServer) -> None:
    listed = httpx.get(f"{language_model.base_url}/models").json()["data"]
    assert [model["id"] for model in listed] == [LanguageModelServer.model]


def test_it_reads_and_repeats_itself(language_model: LanguageModelServer) -> None:
    answer = complete(language_model)
    assert "Austen" in answer
    assert complete(language_model) == answer


def test_a_stream_counts_its_tokens(language_model: LanguageModelServer) -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    url = f"{language_model.base_url}/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=60) as response:
        data = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    usage = json.loads(data[-1])["usage"]
    assert 0 < usage["completion_tokens"] <= 16
    assert usage["prompt_tokens"] > 0


def test_it_can_be_killed_and_another_started() -> None:
    with LanguageModelServer() as server:
        server.kill()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")
    with LanguageModelServer() as server:
        assert httpx.get(f"{server.url}/health").is_success
