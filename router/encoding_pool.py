"""Decisions whose encoding would hold up the event loop: on threads of their own, behind a bound.

A transformer takes milliseconds a query, and so does a text of 20,000 characters in any encoder.
Such decisions are made here, whole, so that everyone else's answers go on meanwhile.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from router.errors import EncoderBusyError

Result = TypeVar("Result")


class EncodingState(NamedTuple):
    """How many decisions are waiting or being made, and how many were refused so far."""

    depth: int
    refused: int


class EncodingPool:
    """A few threads and a bounded queue before them."""

    def __init__(self, threads: int, queue_size: int) -> None:
        """Threads start with the first work; `queue_size` may wait besides those being made."""
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="encoding")
        self._most = threads + queue_size
        self._depth, self._refused = 0, 0
        self._lock = Lock()

    async def run(self, work: Callable[[], Result]) -> Result:
        """What the work returns, or raises.

        A caller who is cancelled takes what hasn't begun out of the queue.

        Raises:
            EncoderBusyError: the queue is full.
        """
        self._enter()
        try:
            future = self._executor.submit(work)
        except RuntimeError:  # the service is stopping
            self._leave()
            raise EncoderBusyError("the service is stopping; try again") from None
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def state(self) -> EncodingState:
        """Where it stands."""
        return EncodingState(self._depth, self._refused)

    def close(self) -> None:
        """Drop what hasn't begun; what has begun ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _enter(self) -> None:
        with self._lock:
            if self._depth >= self._most:
                self._refused += 1
                raise EncoderBusyError(
                    f"{self._depth} decisions are waiting for the encoder: try again, or raise "
                    "encoding.threads or encoding.queue_size"
                )
            self._depth += 1

    def _leave(self, done: "Future[Any] | None" = None) -> None:  # noqa: ARG002
        with self._lock:
            self._depth -= 1
