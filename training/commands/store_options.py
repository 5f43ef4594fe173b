"""Options of the subcommands that reach a service's store."""

import functools
from collections.abc import Callable
from typing import Any

import click

from training.log.store import Secrets


def secret_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--password-env` and `--sentinel-password-env`; the command takes both as `secrets`."""

    @functools.wraps(command)
    def with_secrets(
        *arguments: Any, password_env: str | None, sentinel_password_env: str | None, **options: Any
    ) -> Any:
        secrets = Secrets(password_env, sentinel_password_env)
        return command(*arguments, secrets=secrets, **options)

    sentinels = click.option(
        "--sentinel-password-env",
        metavar="NAME",
        help="The environment variable that holds the Sentinels' password, if they have one.",
    )
    store = click.option(
        "--password-env",
        metavar="NAME",
        help="The environment variable that holds the store's password.",
    )
    return store(sentinels(with_secrets))
