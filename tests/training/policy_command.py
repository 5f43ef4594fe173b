"""`rag-policy` in a process of its own, for what only a process shows: signals and its end."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.stores import wait_until


class PolicyCommand:
    """A running command; ended by its own process id."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        """Start it; what it prints goes to two files in the folder, which must be there."""
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "training.cli", *map(str, arguments)],
                stdout=out,
                stderr=err,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    @property
    def stdout(self) -> str:
        return self._stdout.read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return self._stderr.read_text(encoding="utf-8")

    def wait_for(self, text: str, *, times: int = 1, timeout_s: float = 60.0) -> None:
        """Return once it has printed the text that often, on either output."""

        def printed() -> bool:
            found = (self.stdout + self.stderr).count(text) >= times
            assert found or self.process.poll() is None, self.stdout + self.stderr
            return found

        wait_until(printed, timeout_s=timeout_s)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
