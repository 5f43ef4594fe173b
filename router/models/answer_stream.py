"""A model server's answer while it streams: chunks, each in time and in shape."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import httpx
import msgspec
from httpx_sse import EventSource, ServerSentEvent, SSEError

from router.models.completion import as_chunk
from router.models.errors import (
    ModelError,
    ModelGarbledError,
    ModelInterruptedError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnreachableError,
)
from router.models.model_server import Chunk, has_token

# Statuses that are about the request. A hosted API also answers 403 to a prompt that it won't take.
REFUSED = frozenset({400, 403, 413, 415, 422})
_DONE = "[DONE]"
# How long a server that has ended its answer may take to count its tokens.
_LAST_WORDS_S = 1.0
# And how long to close a body after its last event.
_DRAIN_S = 0.1

_decode = msgspec.json.Decoder().decode


class AnswerStream:
    """A response whose chunks are being read, each checked for the protocol's shape."""

    def __init__(self, name: str, response: httpx.Response, *, choices: object) -> None:
        """`choices` is the request's `n`, as far as it is a number."""
        self._name = name
        self._response = response
        self._choices = max(1, choices) if isinstance(choices, int) else 1
        self._ended: set[int] = set()
        self._read_ahead: list[Chunk] = []
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._chunks = self._streamed() if media_type != "application/json" else self._at_once()

    @property
    def _finished(self) -> bool:
        """Every choice has ended; all that may still come is the count of tokens."""
        return len(self._ended) >= self._choices

    async def begin(self) -> None:
        """Read up to the first token; what breaks off before it may be tried again."""
        try:
            async for chunk in self._chunks:
                self._read_ahead.append(chunk)
                if has_token(chunk):
                    return
        except ModelInterruptedError as error:
            raise ModelUnreachableError(f"{error}, before its first token") from error
        raise self._garbled("nothing")

    async def chunks(
        self, end_by: float, stall_s: float, *, is_own_limit: bool
    ) -> AsyncIterator[Chunk]:
        """All chunks, each in time.

        Raises:
            ModelError: the rest of the answer doesn't come.
        """
        for chunk in self._read_ahead:
            yield chunk
        while (following := await self._next(end_by, stall_s, is_own_limit)) is not None:
            yield following

    async def _next(self, end_by: float, stall_s: float, is_own_limit: bool) -> Chunk | None:
        asked = asyncio.get_running_loop().time()
        if asked > end_by:
            # Whoever takes the chunks was slow, not the server.
            raise ModelTimeoutError(
                f"model {self._name}'s answer wasn't taken in time", trips=False
            )
        stall_by = asked + (min(stall_s, _LAST_WORDS_S) if self._finished else stall_s)
        try:
            async with asyncio.timeout_at(min(end_by, stall_by)):
                return await anext(self._chunks, None)
        except TimeoutError as error:
            if self._finished:
                return None
            raise ModelTimeoutError(
                f"model {self._name} didn't go on in time",
                trips=stall_by <= end_by or is_own_limit,
            ) from error
        except httpx.RequestError as error:
            if self._finished:
                return None
            raise self._interrupted(type(error).__name__) from error

    async def aclose(self) -> None:
        """Stop reading; the server sees the connection close, and stops generating."""
        await self._chunks.aclose()
        await self._response.aclose()

    async def _streamed(self) -> AsyncGenerator[Chunk, None]:
        try:
            async with aclosing(EventSource(self._response).aiter_sse()) as events:
                async for event in events:
                    if event.data == _DONE:
                        await _drain(events)
                        return
                    if event.data and (chunk := self._chunk(event)) is not None:
                        yield chunk
        except SSEError as error:
            raise self._garbled("neither a stream of events nor JSON") from error
        except UnicodeDecodeError as error:
            raise self._garbled("text that isn't UTF-8") from error
        if not self._finished:
            raise self._interrupted("the stream ended early")

    async def _at_once(self) -> AsyncGenerator[Chunk, None]:
        await self._response.aread()
        try:
            completion = _decode(self._response.content)
            chunk = self._sound(as_chunk(completion))
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._garbled("something that isn't JSON") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._garbled("JSON that is no completion") from error
        if chunk is not None:
            yield chunk

    def _chunk(self, event: ServerSentEvent) -> Chunk | None:
        """The chunk in an event; None for one that holds no part of the answer, such as a ping."""
        try:
            chunk = _decode(event.data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._garbled("an event that isn't JSON") from error
        if not isinstance(chunk, dict):
            raise self._garbled("an event that is no object")
        if self._finished or "choices" not in chunk:
            if chunk.get("error") and not self._finished:
                raise self._reported(chunk["error"])
            return {**chunk, "choices": []} if chunk.get("usage") else None
        if chunk.get("error"):
            raise self._reported(chunk["error"])
        return self._sound(chunk)

    def _sound(self, chunk: Chunk) -> Chunk:
        """The chunk, if it has the protocol's shape where the router looks."""
        if not isinstance(chunk["choices"], list):
            raise self._garbled("choices that are no list")
        for choice in chunk["choices"]:
            if not isinstance(choice, dict) or not isinstance(choice.get("delta") or {}, dict):
                raise self._garbled("a choice that is no object")
            choice["delta"] = delta = choice.get("delta") or {}
            if delta.get("content") is not None:
                delta["content"] = self._text(delta["content"])
            calls = delta.get("tool_calls") or []
            if not isinstance(calls, list) or not all(map(_is_numbered, (choice, *calls))):
                raise self._garbled("choices or tool calls without numbers")
            if choice.get("finish_reason"):
                self._ended.add(choice.get("index", 0))
        return chunk

    def _text(self, content: Any) -> str:
        """Text, also where it comes in parts, some of which (a model's thoughts) aren't text."""
        parts = content if isinstance(content, list) else [{"text": content}]
        texts = [part.get("text", "") if isinstance(part, dict) else None for part in parts]
        sound = [text for text in texts if isinstance(text, str)]
        if len(sound) < len(texts):
            raise self._garbled("content that isn't text")
        return "".join(sound)

    def _reported(self, error: Any) -> ModelError:
        """What an error in the stream means; before the first token 4xx is about the request."""
        code = error.get("code") if isinstance(error, dict) else None
        begun = any(map(has_token, self._read_ahead))
        if not begun and isinstance(code, int) and code in REFUSED:
            return ModelRefusedError(f"model {self._name} answered {code}")
        return self._interrupted("it reported an error")

    def _garbled(self, what: str) -> ModelGarbledError:
        return ModelGarbledError(f"model {self._name} answered {what}")

    def _interrupted(self, why: str) -> ModelInterruptedError:
        return ModelInterruptedError(f"model {self._name} broke off ({why})")


def _is_numbered(item: Any) -> bool:
    """An object whose `index`, where it has one, is a number."""
    return isinstance(item, dict) and isinstance(item.get("index", 0), int)


async def _drain(events: AsyncIterator[ServerSentEvent]) -> None:
    """Read the end of the body, without which the connection couldn't be used again."""
    with suppress(TimeoutError, httpx.RequestError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in events:
                pass
