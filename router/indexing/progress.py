"""A bar of bytes on standard error, where that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


@contextmanager
def byte_progress(what: str) -> Iterator[Callable[[int], Advance]]:
    """Lasts as long as the block, which calls what it is given with the total of bytes."""
    if not sys.stderr.isatty():
        yield lambda _: lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (SpinnerColumn(), TextColumn(what), BarColumn(), DownloadColumn(), Remaining())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def of(total: int) -> Advance:
            task = bar.add_task(what, total=total)
            return lambda steps: bar.advance(task, steps)

        yield of
