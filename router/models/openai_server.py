"""Any OpenAI-compatible server (vLLM, llama.cpp, Ollama, a hosted API) through httpx."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import httpx
import msgspec
import stamina

from router.backend_keys import read_key
from router.models.answer_stream import REFUSED, AnswerStream
from router.models.errors import (
    ModelBusyError,
    ModelError,
    ModelGarbledError,
    ModelMisconfiguredError,
    ModelOverloadedError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnreachableError,
)
from router.models.model_server import ChatBody, Chunk, Patience
from router.settings import ModelSettings

# So much of an error's body is read; a server that says more says nothing more.
_MAX_ERROR_BYTES = 16_384
_MISCONFIGURED = frozenset({401, 404, 405})
# Waiting longer than this for a server to recover is worse than taking another arm.
_LONGEST_WAIT_S = 2.0

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
        self._key = read_key(settings.api_key_env, environ, field=f"models.{name}.api_key_env")
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

    async def _begin(
        self, body: ChatBody, first_token_by: float, patience: Patience
    ) -> AnswerStream:
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
                    stream = AnswerStream(self._name, response, choices=body.get("n"))
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
        except httpx.DecodingError as error:
            raise ModelGarbledError(f"model {self._name} sent a damaged body") from error
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
        if status in REFUSED:
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
        except (msgspec.DecodeError, KeyError, TypeError, RecursionError):
            said = body.decode("utf-8", "replace")
        return (said.replace(self._key, "…") if self._key else said)[:500]


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
