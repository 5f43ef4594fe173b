"""`--every`, of the subcommands that may run again and again."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from training.schedule import parse_duration

Command = TypeVar("Command", bound=Callable[..., Any])


class _Duration(click.ParamType):  # type: ignore[type-arg]
    """Seconds, or a number with a unit."""

    name = "DURATION"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def every_option(help_text: str) -> Callable[[Command], Command]:
    """`--every`: None where the command runs once."""
    return click.option("--every", "every_s", type=_Duration(), help=help_text)


def shown_duration(seconds: float) -> str:
    """For people."""
    return f"{seconds:,.0f} s" if seconds >= 1.0 else f"{seconds:g} s"
