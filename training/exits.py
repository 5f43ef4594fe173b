"""The one place where an error becomes a line on standard error and an exit status."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from policies.errors import PolicyError
from training.errors import TrainingError

WRONG_USE, FAILED = 2, 1
_STOPPED = "stopped by {}; what was unfinished is removed"
# What the caller named can't be read or written, as against a disk that is full or broken.
_WRONG_PLACE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class CommandFailed(click.ClickException):
    """The command ran and the answer is no, or the machine failed it: one line."""

    exit_code = FAILED

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"Error: {self.format_message()}", file=file, err=file is None)


class WronglyUsed(CommandFailed):
    """Wrong use: one line that says what to do."""

    exit_code = WRONG_USE


class _Terminated(KeyboardInterrupt):
    """SIGTERM, by which Kubernetes and systemd stop a process: it ends what Ctrl-C would."""


class Interrupted(CommandFailed):
    """Ctrl-C; the exit status of a signal is the shell's, 128 and its number."""

    exit_code = 128 + signal.SIGINT


class Terminated(CommandFailed):
    """SIGTERM."""

    exit_code = 128 + signal.SIGTERM


@contextmanager
def signals_as_exits() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into CommandFailed, once all that the block opened is closed."""
    before = signal.getsignal(signal.SIGTERM)
    # Handlers belong to the main thread, and one that is there already to whoever runs us.
    ours = before is signal.SIG_DFL and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except _Terminated:
        raise Terminated(_STOPPED.format("SIGTERM")) from None
    except KeyboardInterrupt:
        raise Interrupted(_STOPPED.format("SIGINT")) from None
    finally:
        if ours:
            signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one mustn't interrupt the cleaning up
    raise _Terminated


def _failure(status: int, message: str) -> CommandFailed:
    return WronglyUsed(message) if status == WRONG_USE else CommandFailed(message)


@contextmanager
def errors_as_exits() -> Iterator[None]:
    """Turn every error raised on purpose, and those of the file system, into CommandFailed."""
    try:
        yield
    except TrainingError as error:
        raise _failure(error.exit_status, str(error)) from error
    except PolicyError as error:
        place = f"{error.field}: " if error.field else ""
        raise WronglyUsed(f"{place}{error}") from error
    except BrokenPipeError:
        raise  # click's own business: the reader of our output has left
    except OSError as error:
        status = WRONG_USE if isinstance(error, _WRONG_PLACE) else FAILED
        place = f"{error.filename}: " if error.filename else ""
        raise _failure(status, f"{place}{error.strerror or error}") from error
