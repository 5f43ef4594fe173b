"""`rag-policy calibrate`: the objective with which a policy keeps a budget."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.commands.options import (
    config_option,
    directory_option,
    files_option,
    json_option,
    log_option,
    require_one,
    resolve_objective_option,
    seed_option,
)

if TYPE_CHECKING:
    from policies.exploration import Exploration, Floats
    from policies.policy import Policy
    from policies.settings import PolicySettings
    from training.budgets.calibration import Calibration
    from training.budgets.recent_queries import Asked, RecentQueries
    from training.log.log_folder import LogPlace


@click.command()
@directory_option("--policy", required=True, help="The policy's directory.")
@log_option("--logs", help="A log, as export and replay write it: a directory or s3://.")
@files_option("--outcomes", help="A .jsonl or .jsonl.gz table; may be repeated.")
@click.option("--split", help="Only this split of the outcomes.")
@click.option(
    "--budget",
    required=True,
    metavar="METRIC<=NUMBER",
    help="On cost_usd, latency_s, steps, retrieval_rate or any metric the policy expects.",
)
@click.option(
    "--objective",
    default="quality",
    show_default=True,
    help="What is wanted within the budget: a name, or weights as JSON.",
)
@click.option(
    "--recent",
    default=5_000,
    show_default=True,
    type=click.IntRange(1),
    help="So many of the log's latest decisions count.",
)
@click.option("--tenant", help="Only this tenant's decisions, with its exploration.")
@click.option(
    "--explore/--greedy",
    default=None,
    help="With the configured exploration or without.  [default: with it if --config is given]",
)
@click.option(
    "--retrieving",
    default="",
    metavar="ARM,ARM",
    help="For retrieval_rate: the arms that retrieve.  [default: by their routes, or by steps]",
)
@click.option("--name", default="within-budget", show_default=True, help="In router.toml.")
@seed_option
@config_option
@json_option
def command(
    policy: Path,
    logs: "LogPlace | None",
    outcomes: tuple[Path, ...],
    split: str | None,
    budget: str,
    objective: str,
    recent: int,
    tenant: str | None,
    explore: bool | None,
    retrieving: str,
    name: str,
    seed: int,
    config: Path | None,
    as_json: bool,
) -> None:
    """Find the least cost weight with which a policy keeps a budget on recent queries.

    The weight is the budget's Lagrange multiplier: what one unit of the metric must cost in
    utility. What would be spent is estimated doubly robustly from what was measured, so that a
    policy's wrong expectations don't miss the budget. Exit status 1 where no weight keeps it.

    \b
    Examples:
      rag-policy calibrate --policy policy/ --logs logs/ --budget "cost_usd<=0.002"
      rag-policy calibrate --policy policy/ --logs logs/ --budget "retrieval_rate<=0.4" \\
          --config router.toml --json
      rag-policy calibrate --policy policy/ --outcomes table.jsonl.gz --split train \\
          --budget "steps<=1.85" --objective '{"quality": 1}'
    """
    require_one(logs=logs, outcomes=outcomes)
    if split is not None and not outcomes:
        raise click.UsageError("--split needs --outcomes")
    if tenant is not None and logs is None:
        raise click.UsageError("--tenant needs --logs: outcomes belong to nobody")
    from policies.artifact import read_artifact
    from policies.budget import parse_limit
    from policies.exploration import GREEDY
    from policies.loading import load_policy
    from policies.settings import read_policy_settings
    from training.budgets.calibration import calibrate, refusal
    from training.errors import FailedOutcome

    settings = read_policy_settings(config)
    limit = parse_limit(budget)
    loaded = load_policy(read_artifact(policy))
    base = _base(objective, loaded, settings, limit.metric)
    explores = config is not None if explore is None else explore
    exploration = settings.exploration_of(tenant or "") if explores else GREEDY
    named = [arm.strip() for arm in retrieving.split(",") if arm.strip()]
    if logs is not None:
        asked, queries, in_sample = _of_log(
            loaded, base, limit.metric, named, settings, logs, recent, tenant, exploration, seed
        )
    else:
        asked, queries, in_sample = _of_table(
            loaded, base, limit.metric, named, settings, outcomes, split
        )
    found = calibrate(asked, queries, limit, exploration, in_sample=in_sample)
    _show(found, objective, name, settings, as_json)
    if not found.met:
        raise FailedOutcome(refusal(found))


def _base(
    objective: str, policy: "Policy", settings: "PolicySettings", metric: str
) -> dict[str, float]:
    from policies.errors import ObjectiveError
    from policies.objective import ARM_METRICS
    from training.commands.options import require_metrics

    weights = resolve_objective_option(objective, settings).weights
    require_metrics(weights, (*policy.metrics, *ARM_METRICS))
    if weights.get(metric, 0.0) > 0.0:
        raise ObjectiveError(
            f"the objective wants more of {metric!r}, which a budget would have spared: budget a "
            "cost, or give an --objective that doesn't weigh it",
            field="budget",
        )
    return weights


def _asked(
    policy: "Policy",
    base: dict[str, float],
    metric: str,
    named: list[str],
    settings: "PolicySettings",
    expected: "Floats",
) -> "Asked":
    """The question, with the arms that retrieve where it is about them."""
    from policies.retrieval_rate import RETRIEVAL_RATE, retrieving_arms
    from training.budgets.recent_queries import Asked

    if metric != RETRIEVAL_RATE and RETRIEVAL_RATE not in base:
        return Asked(policy, base, metric, [])
    steps = None
    if "steps" in policy.metrics:
        steps = expected[:, :, policy.metrics.index("steps")].mean(axis=0)
    arms = settings.arm_list()
    return Asked(policy, base, metric, retrieving_arms(policy.arms, arms, named=named, steps=steps))


def _of_table(
    policy: "Policy",
    base: dict[str, float],
    metric: str,
    named: list[str],
    settings: "PolicySettings",
    outcomes: tuple[Path, ...],
    split: str | None,
) -> tuple["Asked", "RecentQueries", bool]:
    """Also whether the policy was trained on rows of the table."""
    from policies.policy import arm_columns
    from training.budgets.recent_queries import queries_of_outcomes
    from training.progress import progress
    from training.tables.outcomes import read_outcomes
    from training.tables.query_features import query_features

    with progress("reading outcomes") as advance:
        table = read_outcomes(outcomes, split=split, advance=advance)
    with progress("computing features", total=len(table)) as advance:
        features = query_features(table.queries, settings.encoder, advance=advance)
    arm_columns(policy, table.arms, features.version)
    asked = _asked(policy, base, metric, named, settings, policy.expected(features.matrix))
    training = policy.artifact().manifest.training
    same = training.get("sha256") == table.sha256
    in_sample = same and training.get("split") in (None, *table.splits)
    return asked, queries_of_outcomes(asked, table, features), in_sample


def _of_log(
    policy: "Policy",
    base: dict[str, float],
    metric: str,
    named: list[str],
    settings: "PolicySettings",
    logs: "LogPlace",
    recent: int,
    tenant: str | None,
    exploration: "Exploration",
    seed: int,
) -> tuple["Asked", "RecentQueries", bool]:
    """Also whether the policy was trained on some of the rounds."""
    import numpy as np

    from policies.policy import arm_columns
    from training.budgets.recent_queries import queries_of_rounds
    from training.errors import EmptyLogError
    from training.log.join import join_rounds
    from training.log.log_files import read_log
    from training.progress import progress

    with progress("reading the log"):
        rounds = join_rounds(
            read_log(logs), source=logs, feature_version=policy.feature_version or None
        )
    if tenant is not None:
        if not (rounds.tenants == tenant).any():
            known = ", ".join(sorted({str(name) for name in rounds.tenants} - {""})) or "none"
            raise EmptyLogError(f"{logs}: no decision of tenant {tenant!r}; there are {known}")
        rounds = rounds.rows(rounds.tenants == tenant)
    rounds = rounds.rows(np.arange(max(len(rounds) - recent, 0), len(rounds)))
    arm_columns(policy, rounds.arms, rounds.feature_version)
    asked = _asked(
        policy,
        base,
        metric,
        named,
        settings,
        policy.expected(rounds.features, rounds.tenants.tolist()),
    )
    window = policy.artifact().manifest.training.get("window") or [-np.inf, -np.inf]
    in_sample = float(rounds.at[0]) <= float(window[1])
    with progress("estimating"):
        return asked, queries_of_rounds(asked, rounds, exploration, seed), in_sample


def _show(
    found: "Calibration", objective: str, name: str, settings: "PolicySettings", as_json: bool
) -> None:
    import msgspec

    from training.budgets.budget_toml import budget_tables, objective_table

    known = objective if objective in settings.all_objectives() else None
    fixed = objective_table(name, found.objective)
    tracked = budget_tables(name, known, found.base, found.metric, found.at_most, found.weight)
    if as_json:
        report = {**msgspec.to_builtins(found), "toml": fixed, "tracked_toml": tracked}
        click.echo(msgspec.json.encode(report))
        return
    from rich.console import Console

    from training.budgets.calibration import calibration_tables

    Console().print(calibration_tables(found))
    if found.met:
        weights = msgspec.json.encode(found.objective).decode()
        click.echo(f"\nThe objective, as JSON: {weights}")
        click.echo(f"\nIn router.toml, this weight for good:\n\n{fixed}")
        click.echo(f"or, starting from it and held while traffic changes:\n\n{tracked}", nl=False)
