"""The way up to full: shadow, canary, and a canary that the watch calls ready."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from policies.registries import PolicyRegistry
from policies.rollout import Rollout, WatchedMetric, check_canary_share
from training.errors import FailedOutcome

Command = TypeVar("Command", bound=Callable[..., Any])


def rollout_options(command: Command) -> Command:
    """`--shadow`, `--canary` and `--from-canary`."""
    command = click.option(
        "--from-canary",
        is_flag=True,
        help="Promote it fully on the evidence of its canary, which the watch calls ready.",
    )(command)
    command = click.option(
        "--canary",
        "share",
        type=float,
        metavar="SHARE",
        help="Give it this share of the draws beside the active policy, such as 0.05.",
    )(command)
    return click.option(
        "--shadow",
        is_flag=True,
        help="Only log what it would draw; it changes no draw, so no gate is asked.",
    )(command)


def check_rollout_options(
    shadow: bool, share: float | None, from_canary: bool, *, judged: bool, overridden: bool
) -> None:
    """Raise UsageError where the options contradict each other, or nothing speaks for the policy.

    Raises:
        ShareError: a share that no canary can have.
    """
    if shadow + (share is not None) + from_canary > 1:
        raise click.UsageError("--shadow, --canary and --from-canary exclude each other")
    if share is not None:
        check_canary_share(share)
    if from_canary and (judged or overridden):
        raise click.UsageError("--from-canary takes the canary's word: leave --logs and --override")
    if not (judged or overridden or shadow or from_canary):
        raise click.UsageError("give --logs to judge the policy by, or --override with a reason")


def evidence_of_canary(registry: PolicyRegistry, version: str) -> str:
    """The figures by which the watch calls a policy's canary ready for full, for the record.

    Raises:
        FailedOutcome: the policy has no canary, or it isn't ready.
    """
    rollout, report = registry.rollout(), registry.watch_report()
    if rollout is None or rollout.version != version or rollout.stage != "canary":
        raise FailedOutcome(f"not promoted: policy {version} is in no canary")
    if report is None or report.key != rollout.key:
        raise FailedOutcome("not promoted: the watch has not looked at the canary yet")
    figures = "; ".join(map(figures_of, report.metrics))
    if report.verdict != "ready":
        raise FailedOutcome(f"not promoted: the watch calls the canary {report.verdict}: {figures}")
    return f"canary: {figures}"


def figures_of(found: WatchedMetric) -> str:
    """A watched metric for people."""
    return (
        f"{found.metric} {found.advantage:+.4f} (bounds {found.lower:+.4f} and {found.upper:+.4f}) "
        f"in {found.rounds} rounds"
    )


def stage_in_words(rollout: Rollout) -> str:
    """How far a candidate's rollout is."""
    if rollout.stage == "shadow":
        return "in shadow"
    return f"in canary with {rollout.share:g} of the draws"


def done_by_replicas(rollout: Rollout | None) -> str:
    """What a replica does with a policy in this stage, None for one that is active."""
    if rollout is None:
        return "serves it"
    if rollout.stage == "shadow":
        return "logs what it would draw"
    return "has it draw its share"
