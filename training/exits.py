"""The one place where an error becomes a line on standard error and an exit status."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from policies.errors import PolicyError
from training.errors import TrainingError

WRONG_USE, FAILED = 2, 1
# What the caller named can't be read or written, as against a disk that is full or broken.
_WRONG_PLACE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class CommandFailed(click.ClickException):
    """One line, and the exit status that goes with it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"Error: {self.format_message()}", file=file, err=file is None)


@contextmanager
def errors_as_exits() -> Iterator[None]:
    """Turn every error raised on purpose, and those of the file system, into CommandFailed."""
    try:
        yield
    except TrainingError as error:
        raise CommandFailed(str(error), error.exit_status) from error
    except PolicyError as error:
        place = f"{error.field}: " if error.field else ""
        raise CommandFailed(f"{place}{error}", WRONG_USE) from error
    except BrokenPipeError:
        raise  # click's own business: the reader of our output has left
    except OSError as error:
        status = WRONG_USE if isinstance(error, _WRONG_PLACE) else FAILED
        place = f"{error.filename}: " if error.filename else ""
        raise CommandFailed(f"{place}{error.strerror or error}", status) from error
