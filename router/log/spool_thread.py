"""The spool's thread: the event loop never waits for the disk, and appends share its flushes."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from router.log.counters import LogCounters
from router.log.errors import LogError
from router.log.spool import Segment, Spool

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class SpoolThread:
    """A spool that is worked on by one thread of its own. Use it from one event loop."""

    def __init__(self, spool: Spool, tally: LogCounters, spooled: asyncio.Event) -> None:
        """Store the parts; `open` begins.

        Args:
            spool: the disk that holds events while the store is away.
            tally: where events that were spooled, and calls that failed, are counted.
            spooled: set whenever events were spooled.
        """
        self._spool = spool
        self._tally = tally
        self._spooled = spooled
        self._asked: list[tuple[Sequence[bytes], asyncio.Future[bool]]] = []
        self._appending: asyncio.Task[None] | None = None
        self._disk: ThreadPoolExecutor | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed since."""
        return self._disk is not None

    async def open(self) -> None:
        """Open the spool; raises SpoolError where its directory can't be used."""
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="spool")
        try:
            await self._on_disk(self._spool.open)
        except LogError:
            self._disk.shutdown()
            self._disk = None
            raise

    async def close(self) -> None:
        """Finish what was asked for, and let go of the spool."""
        if self._disk is None:
            return
        if self._appending is not None:
            await self._appending
        await self._on_disk(self._spool.close)
        self._disk.shutdown()
        self._disk = None

    async def append(self, encoded: Sequence[bytes]) -> bool:
        """Whether the events are on disk now; those who ask at one time share a disk flush."""
        safe: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked.append((encoded, safe))
        if self._appending is None or self._appending.done():
            self._appending = asyncio.create_task(self._append_together(), name="log-spool")
        return await safe

    async def oldest(self) -> Path | None:
        """Spool.oldest; None also where the disk failed."""
        return await self._on_disk_or_log(self._spool.oldest)

    async def read(self, segment: Path) -> Segment | None:
        """Spool.read; None where the disk failed."""
        return await self._on_disk_or_log(self._spool.read, segment)

    async def remove(self, segment: Path, whole: bool) -> None:
        """Spool.remove, or at least tried."""
        await self._on_disk_or_log(self._spool.remove, segment, whole)

    async def adopt(self) -> None:
        """Spool.adopt, or at least tried."""
        await self._on_disk_or_log(self._spool.adopt)

    async def _append_together(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            payloads = [payload for encoded, _ in asked for payload in encoded]
            try:
                await self._on_disk(self._spool.append, payloads)
            except Exception as error:  # whatever it is, who asked keeps the events
                self._tally.spool_failures += 1
                _log.error("%d events couldn't be spooled: %r", len(payloads), error)
                is_safe = False
            else:
                self._tally.spooled += len(payloads)
                self._spooled.set()
                is_safe = True
            for _, safe in asked:
                if not safe.done():
                    safe.set_result(is_safe)

    async def _on_disk(self, call: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._disk, call, *arguments)

    async def _on_disk_or_log(
        self, call: Callable[..., _Result], *arguments: object
    ) -> _Result | None:
        try:
            return await self._on_disk(call, *arguments)
        except (OSError, LogError) as error:
            self._tally.spool_failures += 1
            _log.error("the spool failed: %s", error)
            return None
