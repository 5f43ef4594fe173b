"""Options that say where the passes over a log run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from training.commands.options import log_option

if TYPE_CHECKING:
    from training.engines import Engine

Command = TypeVar("Command", bound=Callable[..., Any])

LOCAL, DASK = "local", "dask"


def engine_options(command: Command) -> Command:
    """--engine, --scheduler and --scratch."""
    options = (
        click.option(
            "--engine",
            default=LOCAL,
            show_default=True,
            type=click.Choice([LOCAL, DASK]),
            help="On logs: where the work is done, in this process or on a Dask cluster.",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Of the Dask cluster, such as tcp://host:8786.  [default: a cluster of this "
            "machine's processors]",
        ),
        log_option(
            "--scratch",
            help="Where a log too large for memory is put in order, about twice its size; storage "
            "that all workers share.  [default: the system's temporary directory]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def check_engine(engine: str, scheduler: str | None, logs: object) -> None:
    """Refuse options that say nothing together.

    Raises:
        UsageError: they don't.
    """
    if scheduler is not None and engine != DASK:
        raise click.UsageError("--scheduler needs --engine dask")
    if engine != LOCAL and logs is None:
        raise click.UsageError(f"--engine {engine} needs --logs: outcomes are learned in memory")


@contextmanager
def open_engine(engine: str, scheduler: str | None) -> "Iterator[Engine]":
    """The engine, for as long as the block lasts.

    Raises:
        TrainingError: the extra `dask` isn't installed, or no scheduler answers.
    """
    if engine == LOCAL:
        from training.engines.local import LocalEngine

        yield LocalEngine()
        return
    from training.errors import TrainingError

    try:
        from training.engines.dask import dask_engine
    except ImportError as error:
        raise TrainingError(
            f"--engine dask can't be used ({error}): pip install "
            '"adaptive-rag-router[dask]" brings it'
        ) from error
    with dask_engine(scheduler) as opened:
        yield opened
