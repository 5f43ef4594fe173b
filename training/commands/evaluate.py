"""`rag-policy evaluate`: what a policy is worth, on outcomes or on logs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.commands.engine_options import check_engine, engine_options, open_engine
from training.commands.options import (
    config_option,
    directory_option,
    files_option,
    json_option,
    log_option,
    require_metrics,
    require_one,
    resolve_objective_option,
    seed_option,
)

if TYPE_CHECKING:
    from policies.policy import Policy
    from policies.settings import PolicySettings
    from training.judge.log_report import LogReport
    from training.judge.outcome_report import OutcomeReport
    from training.log.log_folder import LogPlace


@click.command()
@directory_option("--policy", required=True, help="The policy's directory.")
@log_option("--logs", help="A log directory, as export and replay write it.")
@files_option("--outcomes", help="A .jsonl or .jsonl.gz table; may be repeated.")
@click.option("--split", help="Only this split of the outcomes.")
@click.option(
    "--objective",
    "objectives",
    multiple=True,
    help="A name, or weights as JSON; may be repeated.  [default: a sweep; on logs each request's]",
)
@click.option("--greedy", is_flag=True, help="On logs: judge the policy without exploration.")
@click.option("--tenant", help="On logs: judge it by this tenant's decisions alone.")
@click.option(
    "--look",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="On logs: as how many looks at the incumbent the gate would count this one.",
)
@engine_options
@seed_option
@config_option
@json_option
def command(
    policy: Path,
    logs: "LogPlace | None",
    outcomes: tuple[Path, ...],
    split: str | None,
    objectives: tuple[str, ...],
    greedy: bool,
    tenant: str | None,
    look: int,
    engine: str,
    scheduler: str | None,
    scratch: "LogPlace | None",
    seed: int,
    config: Path | None,
    as_json: bool,
) -> None:
    """Say what a policy is worth.

    On outcomes: its true value and mean cost at a sweep of objectives, each fixed arm, a random
    policy of the same mix, the oracle, and its value on datasets left out of training. On logs:
    off-policy estimates with intervals on the rounds after its training window, and what the gate
    would say at this look, which isn't recorded.

    \b
    Examples:
      rag-policy evaluate --policy policy/ --outcomes table.jsonl.gz --split test
      rag-policy evaluate --policy policy/ --outcomes table.jsonl \
          --objective '{"quality": 1, "steps": -0.02}'
      rag-policy evaluate --policy policy/ --logs logs/ --objective balanced --json
      rag-policy evaluate --policy policy/ --logs logs/ --tenant acme --look 2
      rag-policy evaluate --policy policy/ --logs logs/ --engine dask --scheduler tcp://host:8786
    """
    require_one(logs=logs, outcomes=outcomes)
    if split is not None and not outcomes:
        raise click.UsageError("--split needs --outcomes")
    if logs is None and (tenant is not None or look != 1):
        raise click.UsageError("--tenant and --look need --logs")
    check_engine(engine, scheduler, logs)
    import msgspec

    from policies.artifact import read_artifact
    from policies.loading import load_policy
    from policies.settings import read_policy_settings

    settings = read_policy_settings(config)
    loaded = load_policy(read_artifact(policy))
    weights = [resolve_objective_option(text, settings).weights for text in objectives]
    report: OutcomeReport | LogReport
    if logs is not None:
        from training.commands.evaluate_on_logs import Asked, evaluate_on_logs

        asked = Asked(weights, greedy, tenant, look, seed)
        with open_engine(engine, scheduler) as opened:
            report = evaluate_on_logs(loaded, logs, settings, asked, opened, scratch)
    else:
        report = _on_outcomes(loaded, outcomes, split, weights, settings)
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    _show(report, f"Policy {loaded.version}")


def _on_outcomes(
    policy: "Policy",
    outcomes: tuple[Path, ...],
    split: str | None,
    weights: list[dict[str, float]],
    settings: "PolicySettings",
) -> "OutcomeReport":
    from training.judge.outcome_evaluation import evaluate_on_outcomes
    from training.progress import progress
    from training.tables.outcomes import read_outcomes
    from training.tables.query_features import query_features

    with progress("reading outcomes") as advance:
        table = read_outcomes(outcomes, split=split, advance=advance)
    for wanted in weights:
        require_metrics(wanted, policy.metrics, table.metrics)
    with progress("computing features", total=len(table)) as advance:
        features = query_features(table.queries, settings.encoder, advance=advance)
    with progress("leaving one dataset out", total=len(set(table.datasets))) as advance:
        return evaluate_on_outcomes(
            policy,
            table,
            features,
            encoder=settings.encoder,
            objectives=weights,
            advance=advance,
        )


def _show(report: "OutcomeReport | LogReport", title: str) -> None:
    from rich.console import Console

    from training.judge.log_report import LogReport, log_tables
    from training.judge.outcome_evaluation import outcome_tables

    if isinstance(report, LogReport):
        Console().print(log_tables(report, title))
    else:
        Console().print(outcome_tables(report, title))
