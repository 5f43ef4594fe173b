"""A model server and search service that fails as it is told, over real sockets.

`POST …/chat/completions` answers as an OpenAI-compatible server does, `POST …/search` with
`{"passages": […]}`. Modes, some with an argument behind a colon:

    ok                    the whole reply: role, a word a piece, finish reason, usage, [DONE]
    no_usage              the same without the usage
    json                  a completion in one piece, though a stream was asked for
    refuse                the port is closed
    hang                  takes the request, never answers
    hang_after_headers    status 200 and headers, then nothing
    reset                 takes the request, then resets the connection
    reset_mid_stream:N    resets it after N words (3)
    cut_mid_stream:N      closes it after N words (3), in the middle of the HTTP body
    end_mid_stream:N      ends the HTTP body in good order after N words (3), with no finish reason
    trickle:S             every S seconds (0.05) a comment, for ever, and never a word
    trickle_tokens:S      every S seconds (0.05) a word, for ever
    slow_tokens:S         the whole reply, S seconds (0.05) before each word
    slow_first_token:S    waits S seconds (0.2) before the first word
    garbage               status 200 and data that isn't JSON
    html                  status 200 and a page
    status:CODE:S         that status and an error body, with Retry-After where S is given

A search's words are pieces of its JSON, its comments white space.
"""

import asyncio
import contextlib
import json
import socket
import threading
from collections import deque
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

from tests.faulty_answer import Answer, BreakOffError, Received, parse_mode, reset


class FaultyBackend:
    """Listens on a free port of the loopback interface, in a thread of its own."""

    def __init__(
        self,
        mode: str = "ok",
        *,
        reply: str = "Emma was written by Jane Austen [1].",
        passages: Sequence[dict[str, Any]] = (),
    ) -> None:
        parse_mode(mode)
        self.reply = reply
        self.passages = list(passages)
        self.next_modes: deque[str] = deque()  # one a request, before `mode` is asked
        self.requests: list[Received] = []
        self.connections = 0
        self.hung_up = 0  # answers that the client didn't wait for
        self._mode = mode
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._socket = _bound(0)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client wants."""
        return f"{self.url}/v1"

    @property
    def search_url(self) -> str:
        return f"{self.url}/search"

    @property
    def mode(self) -> str:
        """How it behaves from now on; open connections of `refuse` are reset."""
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        parse_mode(mode)
        self._mode = mode
        self._run(self._listen())

    def __enter__(self) -> Self:
        self._thread.start()
        self.mode = self._mode
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.mode = "refuse"
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._socket.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _listen(self) -> None:
        """Open or close the port, as the mode says."""
        if self._mode != "refuse" and self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=self._socket)
        elif self._mode == "refuse" and self._server is not None:
            self._server.close()
            self._server = None
            # Bound but not listening: the port refuses, and stays ours.
            self._socket = _bound(self.port)
            while self._tasks:
                for task in self._tasks:
                    task.cancel()
                await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while (received := await _read_request(reader)) is not None:
                self.requests.append(received)
                mode = self.next_modes.popleft() if self.next_modes else self._mode
                answer = Answer(
                    received, mode, reply=self.reply, passages=self.passages, writer=writer
                )
                await self._answer_or_notice(reader, answer)
        except (BreakOffError, asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            with contextlib.suppress(BreakOffError):
                reset(writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer_or_notice(self, reader: asyncio.StreamReader, answer: Answer) -> None:
        """Answer, unless the client hangs up."""
        answering = asyncio.ensure_future(answer.send())
        try:
            while not answering.done():
                if reader.at_eof() or reader.exception() is not None:
                    self.hung_up += 1
                    raise BreakOffError
                await asyncio.wait([answering], timeout=0.01)
            answering.result()
        finally:
            answering.cancel()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await answering


def _bound(port: int) -> socket.socket:
    """A socket on the loopback interface that doesn't listen yet."""
    # asyncio turns off Nagle's delay only where the protocol is named.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    """The next request of a connection; None where the client has closed it."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(first.split(" ")[1], headers, json.loads(body) if body else None)
