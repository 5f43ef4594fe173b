"""Work that is done again and again, until SIGTERM or SIGINT asks it to stop."""

import os
import re
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def parse_duration(text: str) -> float:
    """Seconds, from a number of them or one with a unit: `90`, `30s`, `15m`, `6h`, `1d`.

    Raises:
        ValueError: it is no such duration, or not above 0.
    """
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found.group(1)) * _UNITS[found.group(2) or "s"] if found else 0.0
    if not 0.0 < seconds <= threading.TIMEOUT_MAX:
        raise ValueError(
            f"{text!r} is no duration above 0: give seconds, or a number with s, m, h or d, such "
            "as 30s, 15m, 6h, 1d"
        )
    return seconds


class StopRequest:
    """Whether SIGTERM or SIGINT has come, for as long as `stop_requests` lasts.

    While `interrupts` holds, a signal also ends what is under way by the exception that it would
    have raised otherwise; else only the second one does. While it is `held`, none does.
    """

    def __init__(self, *, interrupts: bool) -> None:
        """Store whether a signal ends what is under way."""
        self.made = False
        self._interrupts = interrupts
        self._held = 0
        # Not a threading.Event: a handler that sets one may find its lock held by this thread.
        self._read, self._write = os.pipe()
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let what must not be left half done end first, however many signals come."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def wait(self, seconds: float) -> bool:
        """Whether a stop was asked for, within these seconds at most."""
        if not self.made:
            select.select([self._read], [], [], seconds)
        return self.made

    def _ask(self, number: int, frame: FrameType | None) -> None:
        again, self.made = self.made, True
        os.write(self._write, b"\0")
        if self._held or not (again or self._interrupts):
            return
        before = self._before[signal.Signals(number)]
        if callable(before):
            before(number, frame)
        raise KeyboardInterrupt

    def _install(self) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._ask)

    def _remove(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        os.close(self._read)
        os.close(self._write)


@contextmanager
def stop_requests(*, interrupts: bool) -> Iterator[StopRequest]:
    """Take SIGTERM and SIGINT as requests to stop; belongs to the main thread."""
    stop = StopRequest(interrupts=interrupts)
    stop._install()
    try:
        yield stop
    finally:
        stop._remove()


def again_and_again(work: Callable[[], None], every_s: float, stop: StopRequest) -> None:
    """Do the work at once and then every so many seconds, until a stop is asked for.

    Seconds count from start to start; work that takes longer is done again at once.
    """
    while True:
        began = time.monotonic()
        work()
        with stop.held():
            if stop.wait(max(0.0, began + every_s - time.monotonic())):
                return
