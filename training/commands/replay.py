"""`rag-policy replay`: an outcomes table as a bandit log with known propensities."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.commands.options import (
    config_option,
    directory_option,
    files_option,
    json_option,
    resolve_objective_option,
    seed_option,
)

if TYPE_CHECKING:
    from policies.objective import Objective
    from policies.settings import PolicySettings
    from training.log.replay import Logger
    from training.tables.outcomes import OutcomeTable
    from training.tables.query_features import QueryFeatures


@click.command()
@files_option("--outcomes", required=True, help="A .jsonl or .jsonl.gz table; may be repeated.")
@click.option("--split", help="Only the rows of this split.")
@click.option(
    "--logger",
    default="uniform",
    show_default=True,
    metavar="uniform|epsilon:E|POLICY_DIR",
    help="Who decides.",
)
@click.option("--incumbent", help="epsilon's preferred arm.  [default: the best by quality]")
@click.option("--n", type=click.IntRange(1), help="Decisions.  [default: one a row]")
@seed_option
@click.option("--objective", help="A name, or weights as JSON.  [default: quality]")
@click.option("--tenant", default="", help="Of every request.")
@click.option("--datasets-as-tenants", is_flag=True, help="Each row's dataset is its tenant.")
@directory_option("--to", required=True, help="The log directory.")
@config_option
@json_option
def command(
    outcomes: tuple[Path, ...],
    split: str | None,
    logger: str,
    incumbent: str | None,
    n: int | None,
    seed: int,
    objective: str | None,
    tenant: str,
    datasets_as_tenants: bool,
    to: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Turn an outcomes table into a bandit log with known propensities.

    Each decision draws one arm and reveals its outcome alone, as feedback. `epsilon:0.1` takes one
    fixed arm but for a tenth of uniform draws; a policy explores as configured. The log has the
    layout of `rag-policy export`.

    \b
    Examples:
      rag-policy replay --outcomes table.jsonl.gz --split train --n 3000 --to logs/
      rag-policy replay --outcomes table.jsonl.gz --logger epsilon:0.1 --seed 7 --to logs/
      rag-policy replay --outcomes table.jsonl.gz --logger policy/ --n 10000 --to logs/
    """
    import msgspec

    from policies.settings import read_policy_settings
    from training.errors import InputError
    from training.log.log_files import decisions_table, feedback_table, write_part
    from training.log.replay import replay
    from training.progress import progress
    from training.tables.outcomes import read_outcomes
    from training.tables.query_features import query_features

    if tenant and datasets_as_tenants:
        raise click.UsageError("give --tenant or --datasets-as-tenants, not both")
    settings = read_policy_settings(config)
    wanted = resolve_objective_option(objective or "quality", settings)
    with progress("reading outcomes") as advance:
        table = read_outcomes(outcomes, split=split, advance=advance)
    with progress("computing features", total=len(table)) as advance:
        features = query_features(table.queries, settings.encoder, advance=advance)
    tenants = table.datasets if datasets_as_tenants else [tenant] * len(table)
    chosen = _logger(logger, incumbent, table, features, wanted, settings, tenants)
    name = f"replay-{seed}"
    if any(to.glob(f"decisions/**/{name}.parquet")):
        raise InputError(
            f"already has a replay with seed {seed}: choose another seed or directory", path=to
        )
    count = n or len(table)
    with progress("replaying", total=count) as advance:
        events = list(
            replay(
                table,
                features,
                chosen,
                n=count,
                seed=seed,
                objective=wanted.name,
                weights=wanted.weights,
                tenants=tenants,
                advance=advance,
            )
        )
    decisions = [decision for decision, _ in events]
    feedback = [value for _, values in events for value in values]
    # Feedback first: a decision without it is a complete log too, feedback without one is not.
    files = write_part(feedback_table(feedback), to, "feedback", name)
    files += write_part(decisions_table(decisions), to, "decisions", name)
    share = {arm: sum(d.arm == arm for d in decisions) / count for arm in table.arms}
    if as_json:
        report = {
            "decisions": count,
            "feedback": len(feedback),
            "logger": chosen.policy,
            "share": share,
            "to": str(to),
            "files": len(files),
        }
        click.echo(msgspec.json.encode(report))
        return
    drawn = ", ".join(f"{arm} {part:.1%}" for arm, part in share.items())
    click.echo(
        f"{count:,} decisions by {chosen.policy!r} and {len(feedback):,} values of feedback in "
        f"{to}; drawn: {drawn}"
    )


def _logger(
    spec: str,
    incumbent: str | None,
    table: "OutcomeTable",
    features: "QueryFeatures",
    objective: "Objective",
    settings: "PolicySettings",
    tenants: Sequence[str],
) -> "Logger":
    from policies.arms import require_known
    from policies.artifact import read_artifact
    from policies.loading import load_policy
    from training.log.replay import best_fixed_arm, epsilon_logger, policy_logger, uniform_logger

    kind, _, value = spec.partition(":")
    if incumbent is not None:
        require_known([incumbent], table.arms, field="incumbent")
    if spec == "uniform":
        return uniform_logger(table)
    if kind == "epsilon":
        arm = best_fixed_arm(table) if incumbent is None else table.arms.index(incumbent)
        return epsilon_logger(table, _epsilon(value), arm)
    if not Path(spec).is_dir():
        raise click.BadParameter(
            f"{spec!r} is no policy's directory, and neither 'uniform' nor like 'epsilon:0.1'",
            param_hint="--logger",
        )
    policy = load_policy(read_artifact(Path(spec)))
    return policy_logger(table, features, policy, objective.weights, settings.exploration, tenants)


def _epsilon(text: str) -> float:
    try:
        epsilon = float(text)
    except ValueError:
        epsilon = -1.0
    if not 0.0 < epsilon <= 1.0:
        raise click.BadParameter(
            f"epsilon must lie above 0 and at most at 1, as in epsilon:0.1, not {text!r}",
            param_hint="--logger",
        )
    return epsilon
