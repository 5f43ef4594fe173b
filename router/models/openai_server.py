"""Any OpenAI-compatible server (vLLM, llama.cpp, Ollama, a hosted API) through httpx."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Any

import httpx
import msgspec
import stamina
from httpx_sse import EventSource, ServerSentEvent, SSEError

from policies.errors import SettingsError
from router.models.completion import as_chunk
from router.models.errors import (
    ModelBusyError,
    ModelError,
    ModelGarbledError,
    ModelInterruptedError,
    ModelMisconfiguredError,
    ModelOverloadedError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnreachableError,
)
from router.models.model_server import ChatBody, Chunk, Patience, has_token
from router.settings import ModelSettings

_DONE = "[DONE]"
# So much of an error's body is read; a server that says more says nothing more.
_MAX_ERROR_BYTES = 16_384
# A hosted API also answers 403 to a prompt that it won't take, so that isn't held against it.
_MISCONFIGURED = frozenset({401, 404, 405})
_REFUSED = frozenset({400, 403, 413, 415, 422})
# Waiting longer than this for a server to recover is worse than taking another arm.
_LONGEST_WAIT_S = 2.0

# How long a server that has ended its answer may take to count its tokens.
_LAST_WORDS_S = 1.0
# And how long to close a body after its last event.
_DRAIN_S = 0.1

_decode = msgspec.json.Decoder().decode


class OpenAIServer:
    """One model on one server, behind one pool of connections."""

    def __init__(self, name: str, settings: ModelSettings, environ: Mapping[str, str]) -> None:
        """Open nothing yet.

        Raises:
            SettingsError: the variable that holds the key isn't set.
        """
        self._name = name
        self._settings = settings
        self._key = _key(name, settings, environ)
        headers = {"Accept": "text/event-stream"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._client = httpx.AsyncClient(
            headers=headers,
            limits=httpx.Limits(
                max_connections=settings.max_connections,
                max_keepalive_connections=settings.max_connections,
            ),
        )
        self._url = f"{settings.base_url.rstrip('/')}/chat/completions"

    async def close(self) -> None:
        """Close the pool."""
        await self._client.aclose()

    async def stream(self, body: ChatBody, patience: Patience) -> AsyncGenerator[Chunk, None]:
        """ModelServer.stream: connects, retries until the first token, then passes chunks on."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        first_token_by = began + min(patience.first_token_s, self._settings.first_token_timeout_s)
        end_by = began + min(patience.total_s, self._settings.total_timeout_s)
        attempts = stamina.retry_context(
            on=lambda error: _worth_a_retry(error, first_token_by - loop.time()),
            attempts=1 + self._settings.retries,
            timeout=first_token_by - began,
            wait_initial=0.05,
            wait_max=1.0,
            wait_jitter=0.05,
        )
        async for attempt in attempts:
            with attempt:
                begun = await self._begin(body, min(first_token_by, end_by), patience)
        own_limit = self._settings.total_timeout_s <= patience.total_s
        async with aclosing(begun) as stream:
            async for chunk in stream.chunks(
                end_by, self._settings.stall_timeout_s, is_own_limit=own_limit
            ):
                yield chunk

    async def _begin(self, body: ChatBody, first_token_by: float, patience: Patience) -> "_Stream":
        """Send the request and wait for the first token."""
        left_s = max(0.0, first_token_by - asyncio.get_running_loop().time())
        request = self._client.build_request(
            "POST",
            self._url,
            headers={"Content-Type": "application/json"},
            # The answer's deadlines bound the rest. A wait for one of our own connections has to
            # end first, or it would look like a server that doesn't answer.
            timeout=httpx.Timeout(None, connect=self._settings.connect_timeout_s, pool=left_s / 2),
            content=msgspec.json.encode(
                {
                    **self._settings.parameters,
                    **body,
                    "model": self._settings.model,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                }
            ),
        )
        try:
            async with asyncio.timeout_at(first_token_by):
                response = await self._client.send(request, stream=True)
                try:
                    await self._check(response)
                    stream = _Stream(self._name, response, choices=body.get("n") or 1)
                    await stream.begin()
                except BaseException:
                    await response.aclose()
                    raise
        except TimeoutError as error:
            # It only counts against the server if it had at least half of its own limit.
            enough = self._settings.first_token_timeout_s / 2 <= patience.first_token_s
            raise ModelTimeoutError(
                f"model {self._name} gave no first token within {left_s:.3g} s", trips=enough
            ) from error
        except httpx.PoolTimeout as error:
            raise ModelBusyError(f"all connections to model {self._name} are in use") from error
        except httpx.ConnectTimeout as error:
            raise ModelUnreachableError(f"model {self._name} took no connection in time") from error
        except httpx.TransportError as error:
            raise ModelUnreachableError(
                f"model {self._name} can't be reached ({type(error).__name__})"
            ) from error
        except httpx.InvalidURL as error:
            raise ModelMisconfiguredError(f"model {self._name} has a wrong base_url") from error
        return stream

    async def _check(self, response: httpx.Response) -> None:
        """Raise what a status other than 200 means."""
        status = response.status_code
        if status == 200:
            return
        said = "" if status in _MISCONFIGURED else self._said(await _beginning(response))
        message = f"model {self._name} answered {status}"
        if status in _REFUSED:
            raise ModelRefusedError(message, said=said)
        if status == 429 or status >= 500:
            raise ModelOverloadedError(message, said=said, retry_after_s=_retry_after(response))
        if status in _MISCONFIGURED:
            raise ModelMisconfiguredError(f"{message}: check its base_url, model and api_key_env")
        raise ModelGarbledError(f"{message}, where 200 was expected")

    def _said(self, body: bytes) -> str:
        """A server's own words, for the caller that sent the request; never the key."""
        try:
            error = _decode(body)["error"]
            said = str(error["message"] if isinstance(error, dict) else error)
        except (msgspec.DecodeError, KeyError, TypeError):
            said = body.decode("utf-8", "replace")
        return (said.replace(self._key, "…") if self._key else said)[:500]


class _Stream:
    """A response whose chunks are being read."""

    def __init__(self, name: str, response: httpx.Response, *, choices: int) -> None:
        self._name = name
        self._response = response
        self._choices = choices
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
        except httpx.TransportError as error:
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
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._garbled("JSON that is no completion") from error
        if chunk is not None:
            yield chunk

    def _chunk(self, event: ServerSentEvent) -> Chunk | None:
        """The chunk in an event; None for one that holds no part of the answer, such as a ping."""
        try:
            chunk = _decode(event.data)
        except msgspec.DecodeError as error:
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
            if not isinstance(delta.get("tool_calls") or [], list):
                raise self._garbled("tool calls that are no list")
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
        if not any(map(has_token, self._read_ahead)) and code in _REFUSED:
            return ModelRefusedError(f"model {self._name} answered {code}")
        return self._interrupted("it reported an error")

    def _garbled(self, what: str) -> ModelGarbledError:
        return ModelGarbledError(f"model {self._name} answered {what}")

    def _interrupted(self, why: str) -> ModelInterruptedError:
        return ModelInterruptedError(f"model {self._name} broke off ({why})")


async def _drain(events: AsyncIterator[ServerSentEvent]) -> None:
    """Read the end of the body, without which the connection couldn't be used again."""
    with suppress(TimeoutError, httpx.TransportError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in events:
                pass


def _key(name: str, settings: ModelSettings, environ: Mapping[str, str]) -> str:
    if settings.api_key_env is None:
        return ""
    key = environ.get(settings.api_key_env, "").strip()
    if not key or not key.isascii():
        fault = "holds characters that no key can have" if key else "is unset or empty"
        raise SettingsError(
            f"models.{name}.api_key_env names {settings.api_key_env}, which {fault}",
            field=f"models.{name}.api_key_env",
        )
    return key


def _worth_a_retry(error: Exception, left_s: float) -> bool | float:
    """Whether, or after how many seconds, to send the same request again."""
    if not isinstance(error, ModelError) or not error.retryable:
        return False
    if error.retry_after_s is None:
        return True
    wait = error.retry_after_s
    return wait if wait <= min(_LONGEST_WAIT_S, left_s / 2) else False


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks for; the form with a date is left aside."""
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0.0 <= seconds < float("inf") else None


async def _beginning(response: httpx.Response) -> bytes:
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) >= _MAX_ERROR_BYTES:
            break
    return body[:_MAX_ERROR_BYTES]
