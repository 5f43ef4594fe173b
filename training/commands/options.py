"""Options that several subcommands share."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
import msgspec

from policies.errors import ObjectiveError
from policies.objective import STANDARD_METRICS, Objective, check_weights, resolve_objective
from policies.settings import PolicySettings
from training.progress import note

if TYPE_CHECKING:
    from training.log.log_folder import LogPlace

Command = TypeVar("Command", bound=Callable[..., Any])


def a_number(
    _context: click.Context, _option: click.Parameter, share: float | None
) -> float | None:
    """An option's callback that refuses nan, which lies in every range."""
    if share is not None and math.isnan(share):
        raise click.BadParameter("nan is no number between 0 and 1")
    return share


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output, for machines."
)
seed_option = click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Of all randomness."
)
config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="router.toml: its arms, objectives, exploration and encoder.",
)


def directory_option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """An option that names a directory."""
    return click.option(*names, type=click.Path(file_okay=False, path_type=Path), **settings)


class _LogLocation(click.ParamType):  # type: ignore[type-arg]
    """A directory, or an s3:// URI of object storage."""

    name = "DIR|URI"

    def convert(self, value: Any, param: Any, ctx: Any) -> "LogPlace":
        if not isinstance(value, str):
            return cast("LogPlace", value)
        if "://" not in value:
            place = click.Path(file_okay=False, path_type=Path)
            return place.convert(value, param, ctx)
        from training.log.log_folder import log_folder

        return log_folder(value)


def log_option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """An option that names a place for logs."""
    return click.option(*names, type=_LogLocation(), **settings)


def files_option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """An option that names a file, and may be repeated."""
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option(*names, type=kind, multiple=True, **settings)


def parse_weights(text: str) -> dict[str, float]:
    """An objective's weights, given as JSON.

    Raises:
        ObjectiveError: it isn't an object of finite numbers.
    """
    try:
        weights = msgspec.json.decode(text, type=dict[str, float])
    except msgspec.DecodeError as error:
        raise ObjectiveError(
            f'{text!r} is no objective: give a name, or JSON such as {{"quality": 1, '
            f'"cost_usd": -20}} ({error})',
            field="objective",
        ) from error
    check_weights(weights, frozenset())
    return weights


def resolve_objective_option(text: str | None, settings: PolicySettings) -> Objective:
    """The objective an option names or spells out; the configured default without one.

    Raises:
        ObjectiveError: there is no such objective.
    """
    wanted = parse_weights(text) if text is not None and text.lstrip().startswith("{") else text
    return resolve_objective(
        wanted, settings.all_objectives(), (), default=settings.default_objective
    )


def require_metrics(
    weights: Mapping[str, float], learned: Sequence[str], *others: Sequence[str]
) -> None:
    """Check that an objective's metrics mean something, and say which count as 0.

    Raises:
        ObjectiveError: a metric that neither the policy nor the data nor the service knows.
    """
    known = {*STANDARD_METRICS, *learned, *(metric for more in others for metric in more)}
    check_weights(weights, frozenset(known))
    for metric, weight in weights.items():
        if weight and metric not in learned:
            note(
                f"note: the policy expects nothing of {metric!r}, so its weight counts for nothing"
            )


def require_one(**given: object) -> None:
    """Exactly one of these options, or a usage error that says so."""
    named = [f"--{name.replace('_', '-')}" for name in given]
    if sum(bool(value) for value in given.values()) != 1:
        raise click.UsageError(f"give exactly one of {' and '.join(named)}")
