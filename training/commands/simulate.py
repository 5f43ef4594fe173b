"""`rag-policy simulate`: traffic with known outcomes through a running service."""

import os
from pathlib import Path

import click
import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from policies.settings import read_policy_settings
from training.commands.options import json_option, resolve_objective_option
from training.errors import InputError
from training.progress import progress
from training.simulation import World
from training.simulation.client import RouterClient
from training.simulation.recorded import RecordedWorld
from training.simulation.run import Score, run_traffic
from training.simulation.support_desk import SupportDesk
from training.tables.outcomes import read_outcomes


@click.command()
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="The service.")
@click.option(
    "--key-env",
    default="RAG_ROUTER_API_KEY",
    show_default=True,
    help="Variable with a caller's key.",
)
@click.option("--n", default=8000, show_default=True, type=click.IntRange(1), help="Decisions.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option(
    "--outcomes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A recorded table as the world, instead of the simulated support desk.",
)
@click.option("--split", help="Only this split of the table.")
@click.option(
    "--objective",
    help="A name, or weights as JSON.  [default: the tenant's own in --config, or its default]",
)
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="Where objectives are named."
)
@click.option("--tenant", default="", help="Tenant of the traffic.")
@click.option("--explore/--greedy", default=True, show_default=True)
@click.option(
    "--feedback-rate",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.0, 1.0),
    help="Share of decisions that get feedback.",
)
@json_option
def command(
    url: str,
    key_env: str,
    n: int,
    seed: int,
    outcomes: Path | None,
    split: str | None,
    objective: str | None,
    config: Path | None,
    tenant: str,
    explore: bool,
    feedback_rate: float,
    as_json: bool,
) -> None:
    """Send traffic with known outcomes through a running service, and keep score.

    Each query is decided by the service; only the drawn arm's outcome is reported back. The mean
    reward is printed beside a random arm's, the best fixed arm's and the oracle's.

    \b
    Examples:
      rag-policy simulate --n 8000 --seed 1
      rag-policy simulate --outcomes table.jsonl.gz --split train --objective quality
    """
    world: World = SupportDesk()
    if outcomes is not None:
        world = RecordedWorld(read_outcomes([outcomes], split=split))
    elif split is not None:
        raise InputError("--split needs --outcomes")
    settings = read_policy_settings(config)
    if objective is None and tenant in settings.tenants:
        objective = settings.tenants[tenant].default_objective(settings.default_objective)
    wanted = resolve_objective_option(objective, settings)
    rng = np.random.default_rng(seed)
    traffic = world.traffic(n, rng)
    with (
        RouterClient(url, key=os.environ.get(key_env)) as client,
        progress("simulating", total=len(traffic.queries)) as advance,
    ):
        score = run_traffic(
            client,
            traffic,
            wanted,
            rng,
            tenant=tenant,
            explore=explore,
            feedback_rate=feedback_rate,
            advance=advance,
        )
    if as_json:
        click.echo(msgspec.json.encode(score))
    else:
        _show(score)


def _show(score: Score) -> None:
    table = Table(title=f"Mean reward of {score.decisions:,} decisions, {score.objective}")
    table.add_column("who decides")
    table.add_column("mean reward", justify="right")
    for name, value in (
        ("a random arm", f"{score.random:.4f}"),
        (f"the best fixed arm ({score.best_fixed_arm})", f"{score.best_fixed:.4f}"),
        ("the service, as it served", f"{score.served:.4f} ± {1.96 * score.standard_error:.4f}"),
        ("the oracle", f"{score.oracle:.4f}"),
    ):
        table.add_row(name, value)
    console = Console()
    console.print(table)
    share = ", ".join(f"{arm} {part:.0%}" for arm, part in score.share.items())
    console.print(f"drawn: {share}; explored {score.explored:.0%}; by {', '.join(score.policies)}")
