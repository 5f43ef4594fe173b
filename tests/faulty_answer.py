"""What the faulty backend sends for one request, and where it breaks off."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, NoReturn

_SSE, _JSON = "text/event-stream", "application/json"

MODES = frozenset({
    "ok", "no_usage", "json", "refuse", "hang", "hang_after_headers", "reset", "reset_mid_stream",
    "cut_mid_stream", "end_mid_stream", "trickle", "trickle_tokens", "slow_tokens",
    "slow_first_token", "garbage", "html", "status",
})  # fmt: skip


class Received(NamedTuple):
    """One request; the names of its headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: Any


class BreakOffError(Exception):
    """The connection is to end here, in mid-answer."""


class Answer:
    """One answer, sent as its mode says."""

    def __init__(
        self,
        received: Received,
        mode: str,
        *,
        reply: str,
        passages: Sequence[dict[str, Any]],
        writer: asyncio.StreamWriter,
    ) -> None:
        self._name, self._arguments = parse_mode(mode)
        self._reply, self._passages, self._writer = reply, passages, writer
        self._searches = received.path.endswith("/search")
        body = received.body if isinstance(received.body, dict) else {}
        self._streams = not self._searches and bool(body.get("stream")) and self._name != "json"

    async def send(self) -> None:
        """Send it; raises BreakOffError where the mode has it break off."""
        match self._name:
            case "hang":
                await asyncio.Event().wait()
            case "reset":
                reset(self._writer)
            case "html":
                await self._send_whole(200, "<!doctype html><p>Welcome</p>", "text/html")
            case "status":
                await self._send_status()
            case _:
                await self._head(
                    200, _SSE if self._streams else _JSON, "transfer-encoding: chunked"
                )
                async for piece in self._pieces():
                    await self._write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await self._write(b"0\r\n\r\n")

    async def _pieces(self) -> AsyncIterator[bytes]:
        """The body, piece by piece."""
        first, *words, last = self._whole()
        seconds = float(self._argument(0, "0.2" if self._name == "slow_first_token" else "0.05"))
        filler = b": still here\n\n" if self._streams else b" "
        match self._name:
            case "hang_after_headers":
                await asyncio.Event().wait()
            case "garbage":
                yield b"data: {not JSON\n\n" if self._streams else b"{not JSON"
                return
            case "trickle":
                while True:
                    yield filler
                    await asyncio.sleep(seconds)
        yield first
        match self._name:
            case "trickle_tokens":
                while True:
                    await asyncio.sleep(seconds)
                    yield _delta({"content": "word "}) if self._streams else filler
            case "reset_mid_stream" | "cut_mid_stream" | "end_mid_stream":
                for word in words[: int(self._argument(0, "3"))]:
                    yield word
                if self._name == "reset_mid_stream":
                    reset(self._writer)
                if self._name == "cut_mid_stream":
                    raise BreakOffError
                return
            case "slow_first_token":
                await asyncio.sleep(seconds)
        pause = seconds if self._name == "slow_tokens" else 0.0
        for piece in (*words, last):
            await asyncio.sleep(pause)
            yield piece

    def _whole(self) -> list[bytes]:
        """The whole reply: an opening, one piece a word, a closing."""
        if self._searches:
            text = json.dumps({"passages": list(self._passages)})
            return [b"{", *(word.encode() for word in _words(text[1:-1])), b"}"]
        words = _words(self._reply)
        usage = {"prompt_tokens": 20, "completion_tokens": len(words)}
        usage["total_tokens"] = sum(usage.values())
        if not self._streams:
            message = {"role": "assistant", "content": self._reply}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            completion = {"object": "chat.completion", "choices": [choice], "usage": usage}
            text = json.dumps(completion)
            return [b"{", *(word.encode() for word in _words(text[1:-1])), b"}"]
        tokens = [_delta({"content": word}) for word in words]
        closing = _delta({}, finish_reason="stop")
        if self._name != "no_usage":
            closing += _event({"choices": [], "usage": usage})
        return [
            _delta({"role": "assistant", "content": ""}), *tokens, closing + b"data: [DONE]\n\n"
        ]  # fmt: skip

    async def _send_status(self) -> None:
        status = int(self._argument(0, "500"))
        error = {"message": f"told to answer {status}", "type": "faulty", "code": status}
        wait = self._argument(1, "")
        more = [f"retry-after: {wait}"] if wait else []
        await self._send_whole(status, json.dumps({"error": error}), _JSON, *more)

    async def _send_whole(self, status: int, text: str, kind: str, *headers: str) -> None:
        body = text.encode()
        await self._head(status, kind, f"content-length: {len(body)}", *headers)
        await self._write(body)

    async def _head(self, status: int, kind: str, *headers: str) -> None:
        lines = [f"HTTP/1.1 {status} As-Told", f"content-type: {kind}", *headers, "", ""]
        await self._write("\r\n".join(lines).encode())

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def _argument(self, index: int, default: str) -> str:
        return self._arguments[index] if index < len(self._arguments) else default


def parse_mode(mode: str) -> tuple[str, list[str]]:
    """A mode's name and its arguments; raises ValueError for one that there isn't."""
    name, *arguments = mode.split(":")
    if name not in MODES:
        raise ValueError(f"unknown mode {mode!r}")
    for argument in arguments:
        float(argument)
    return name, arguments


def _words(text: str) -> list[str]:
    """The text's pieces, each with the space before it."""
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


def _delta(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _event({"object": "chat.completion.chunk", "choices": [choice]})


def _event(data: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % json.dumps({"id": "chatcmpl-1", "model": "faulty", **data}).encode()


def reset(writer: asyncio.StreamWriter) -> NoReturn:
    """End the connection with RST: what is unsent is dropped, and the peer told at once."""
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()
    raise BreakOffError
