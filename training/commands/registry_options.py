"""What the subcommands share that read or change which policy serves."""

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from policies.registries import PolicyRegistry
from policies.registries.redis_registry import RedisPolicyRegistry
from policies.store_keys import DEFAULT_PREFIX
from training.commands.store_options import secret_options
from training.log.store import DEFAULT_LOCATION, LOCATION_HELP, Secrets, connect, store_errors


def registry_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--store` and `--prefix`, and where the store's passwords are."""
    command = click.option(
        "--prefix", default=DEFAULT_PREFIX, show_default=True, help="As in redis.prefix."
    )(secret_options(command))
    return click.option(
        "--store",
        "location",
        default=DEFAULT_LOCATION,
        show_default=True,
        metavar="URL|DIR",
        help=LOCATION_HELP,
    )(command)


by_option = click.option("--by", help="Who does it, for the audit trail.  [default: you]")
wait_option = click.option(
    "--wait",
    "wait_s",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0.0),
    help="Seconds to wait until every running replica has taken it.",
)


@contextmanager
def opened_registry(location: str, prefix: str, secrets: Secrets) -> Iterator[PolicyRegistry]:
    """The registry in a store, for as long as it is needed; the store's errors end the command."""
    with store_errors(location), connect(location, secrets) as client:
        yield RedisPolicyRegistry(client, prefix=prefix)


def user() -> str:
    """Who runs the command, for the audit trail."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""  # a container's user needs no name
