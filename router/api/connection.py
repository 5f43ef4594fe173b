"""Callers that hang up: what is being done for them ends, too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
