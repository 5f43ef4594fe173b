"""`rag-policy list`: what the store knows of policies, and who serves what."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import msgspec

from policies.artifact import Manifest
from policies.registries import Activation, ReplicaStatus
from policies.rollout import EndedRollout, Rollout, WatchedMetric, WatchVerdict
from training.commands.options import json_option
from training.commands.registry_options import opened_registry, registry_options
from training.commands.rollout_options import figures_of, stage_in_words
from training.log.store import Secrets

if TYPE_CHECKING:
    from rich.table import Table


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows: policies, activations (the active one last), running replicas.

    `rollout` is the candidate in shadow or canary, `verdict` and `watched` what the watch says of
    it, `past_rollouts` those that ended, the latest first.
    """

    active: Activation | None
    generation: int
    policies: list[Manifest]
    activations: list[Activation]
    replicas: list[ReplicaStatus]
    rollout: Rollout | None = None
    verdict: WatchVerdict | None = None
    watched: list[WatchedMetric] = []
    past_rollouts: list[EndedRollout] = []


@click.command()
@registry_options
@json_option
def command(location: str, prefix: str, as_json: bool, secrets: Secrets) -> None:
    """List the stored policies, which one is active, what came before it, and who serves what.

    \b
    Examples:
      rag-policy list
      rag-policy list --store redis://store:6379 --json
    """
    with opened_registry(location, prefix, secrets) as registry:
        rollout, report = registry.rollout(), registry.watch_report()
        found = report if rollout and report and report.key == rollout.key else None
        listing = Listing(
            active=registry.active(),
            generation=registry.generation(),
            policies=registry.manifests(),
            activations=registry.activations(),
            replicas=registry.replicas(),
            rollout=rollout,
            verdict=found.verdict if found else None,
            watched=found.metrics if found else [],
            past_rollouts=registry.past_rollouts(),
        )
    if as_json:
        click.echo(msgspec.json.encode(listing))
    else:
        _show(listing)


def _show(listing: Listing) -> None:
    from rich.console import Console

    console = Console()
    console.print(_policies(listing))
    for line in _rollouts(listing):
        console.print(line, markup=False)
    console.print(_activations(listing))
    console.print(_replicas(listing))


def _policies(listing: Listing) -> "Table":
    from rich.table import Table

    table = Table("version", "name", "made", "metrics", "", title="Policies")
    rollout, active = listing.rollout, listing.active
    stages = {rollout.version: stage_in_words(rollout)} if rollout is not None else {}
    stages |= {active.version: "active"} if active is not None else {}
    for manifest in listing.policies:
        table.add_row(
            manifest.version,
            manifest.name,
            manifest.created_at,
            ", ".join(manifest.metrics),
            stages.get(manifest.version, ""),
        )
    return table


def _rollouts(listing: Listing) -> Iterator[str]:
    """A line on the present candidate, and one on each of the latest before it."""
    if listing.rollout is not None:
        watched = "; ".join(map(figures_of, listing.watched)) or "the watch has not looked yet"
        verdict = f"{listing.verdict}: " if listing.verdict else ""
        stage = stage_in_words(listing.rollout)
        yield f"{listing.rollout.version} {stage}: {verdict}{watched}"
    for ended in listing.past_rollouts[:5]:
        past = f"{ended.rollout.version} {stage_in_words(ended.rollout)}: {ended.outcome}"
        yield " ".join(part for part in (past, ended.by, ended.note) if part)


def _activations(listing: Listing) -> "Table":
    from rich.table import Table

    table = Table("version", "since", "by", "note", title="Activations, the active one first")
    for activation in reversed(listing.activations):
        since = datetime.fromtimestamp(activation.at, UTC).isoformat(" ", "seconds")
        table.add_row(activation.version, since, activation.by, activation.note)
    table.add_row("built-in rules", "", "", "")
    return table


def _replicas(listing: Listing) -> "Table":
    from rich.table import Table

    table = Table("replica", "serves", "reported", "refused", title="Replicas")
    for replica in listing.replicas:
        ago = f"{max(0.0, time.time() - replica.at):.0f} s ago"
        table.add_row(replica.replica, replica.version, ago, replica.refused or "")
    return table
