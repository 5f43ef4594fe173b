"""Callers that hang up, or stop reading: what is being done for them ends, too."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from litestar import Request

from router.errors import CallerGoneError


@asynccontextmanager
async def while_connected(request: Request[Any, Any, Any]) -> AsyncIterator[None]:
    """Cancel the block when the caller hangs up; for work done before a response has begun.

    Raises:
        CallerGoneError: in place of the cancellation; nobody is left to see it.
    """
    worker = asyncio.current_task()
    assert worker is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        # The body has been read, so all that can come is the end of the connection.
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        worker.cancel()

    watching = asyncio.create_task(watch(), name="watch-caller")
    try:
        yield
    except asyncio.CancelledError:
        if gone and worker.uncancel() == 0:
            raise CallerGoneError("the caller went away") from None
        raise
    finally:
        watching.cancel()


class ClosedByDeadline:
    """Closes an answer at its deadline, even while its reader takes nothing.

    Nothing runs below a chunk that waits to be taken, so no other deadline is watched then; a
    reader that never comes back would hold the model's connection for ever. Entered by who reads
    the answer, it closes it on leaving; an answer that closed early ends as if it were over.
    """

    def __init__(self, answer: AsyncGenerator[Any, None], deadline: float) -> None:
        """`deadline` is in the loop's time; it counts from now on, whether or not anyone reads."""
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Task[None] | None = None
        self._timer = self._loop.call_at(deadline, self._begin)

    def _begin(self) -> None:
        self._closing = self._loop.create_task(self._close(), name="close-answer")

    async def _close(self) -> None:
        with suppress(RuntimeError):  # it is running: its own deadlines are watched then
            await self._answer.aclose()

    async def __aenter__(self) -> None:
        """Nothing more to do: the time is running."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        self._timer.cancel()
        late = self._closing is not None
        if self._closing is not None:
            await asyncio.wait([self._closing])
        await self._close()
        # Who asks for a chunk just while the answer is being closed is told that it is running.
        return late and isinstance(error, RuntimeError)
