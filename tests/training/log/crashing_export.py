"""Exports in a process of their own that end with SIGKILL: at a given step, or when told to.

A step is a change that outlives the process: a file is synced or renamed, an object is stored, a
file is removed, the store is changed. The process dies just before it, or just after.
"""

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import redis

from training.log.export import LogExport
from training.log.log_folder import LocalFolder, LogFolder, log_folder

# Children of one server that has pyarrow loaded: a tenth of a second each instead of a whole one.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.training.log.crashing_export"])

# Of killed holders; so short that nobody waits for them.
LEASE_S = 0.05


class Job(NamedTuple):
    """One export: the store's URL, the destination, and how."""

    url: str
    destination: str
    trim: bool = False
    batch: int = 20
    fatal: int = 0
    """The step that kills it, from 1 on."""
    environ: tuple[tuple[str, str], ...] = ()


class Steps:
    """Wraps what changes something, so that the process dies at the fatal step."""

    def __init__(self, fatal: int) -> None:
        self._steps, self._fatal = itertools.count(1), fatal

    def counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._step()
            result = real(*arguments, **options)
            self._step()
            return result

        return call

    def _step(self) -> None:
        if next(self._steps) == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingFileSystem:
    """Object storage: an upload is a step when it is opened, and when it is complete."""

    def __init__(self, real: Any, steps: Steps) -> None:
        self._real, self._steps = real, steps
        self.delete_file = steps.counted(real.delete_file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def open_output_stream(self, path: str) -> Any:
        file = self._steps.counted(self._real.open_output_stream)(path)
        return DyingFile(file, self._steps)


class DyingFile:
    def __init__(self, real: Any, steps: Steps) -> None:
        self._real, self._steps = real, steps

    def __enter__(self) -> "DyingFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.counted(self._real.close)()

    def write(self, content: Any) -> None:
        self._real.write(content)


def export(job: Job) -> None:
    """Run one export in this process."""
    os.environ.update(job.environ)
    steps = Steps(job.fatal)
    folder: LogFolder = log_folder(job.destination)
    if isinstance(folder, LocalFolder):
        os.fsync = steps.counted(os.fsync)
        Path.replace = steps.counted(Path.replace)  # type: ignore[method-assign]
        folder.filesystem = DyingFileSystem(folder.filesystem, steps)
    else:
        dying = DyingFileSystem(folder.filesystem, steps)
        folder = LogFolder(dying, folder.root, str(folder))
    with redis.Redis.from_url(job.url) as client:
        changes: Any = client
        for name in ("set", "eval", "xtrim"):
            setattr(changes, name, steps.counted(getattr(client, name)))
        with LogExport(client, folder, batch_entries=job.batch, lease_s=LEASE_S) as run:
            run.run(trim=job.trim)


def _begin(job: Job, begun: Any) -> None:
    begun.set()
    export(job)


def export_in_a_process(job: Job) -> int:
    """Its exit status: 0, or minus SIGKILL."""
    process = _processes.Process(target=export, args=(job,))
    process.start()
    process.join()
    return int(process.exitcode or 0)


def export_killed_after(job: Job, seconds: float) -> int:
    """Kill it so long after it began, if it still runs then; its exit status."""
    begun = _processes.Event()
    process = _processes.Process(target=_begin, args=(job, begun))
    process.start()
    begun.wait()
    process.join(seconds)
    process.kill()
    process.join()
    return int(process.exitcode or 0)
