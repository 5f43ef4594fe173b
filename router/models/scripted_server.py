"""An in-memory twin of a model server: says what it is told to, as a stream."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from router.models.errors import ModelError
from router.models.model_server import ChatBody, Chunk, Patience

# What to say to a request: its words, or words that an error cuts short.
Script = Callable[[ChatBody], Sequence[str | ModelError]]


class ScriptedServer:
    """Streams a script's words one chunk each, and keeps the requests it got."""

    def __init__(self, script: Script | str) -> None:
        self.script = script if callable(script) else lambda _: script.split(" ")
        self.requests: list[dict[str, Any]] = []

    async def stream(self, body: ChatBody, patience: Patience) -> AsyncGenerator[Chunk, None]:  # noqa: ARG002
        """ModelServer.stream, without a wait; tokens are words."""
        self.requests.append(dict(body))
        words = self.script(body)
        yield _chunk({"role": "assistant", "content": ""})
        for position, word in enumerate(words):
            if isinstance(word, ModelError):
                raise word
            yield _chunk({"content": word if position == 0 else f" {word}"})
        yield _chunk({}, finish_reason="stop")
        asked = sum(len(str(message.get("content")).split()) for message in body["messages"])
        usage = {
            "prompt_tokens": asked,
            "completion_tokens": len(words),
            "total_tokens": asked + len(words),
        }
        yield {**_chunk({}), "choices": [], "usage": usage}

    async def close(self) -> None:
        """Nothing to let go of."""


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> Chunk:
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }
