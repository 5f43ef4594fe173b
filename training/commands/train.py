"""`rag-policy train`: a policy from logged decisions, from outcomes, or from both."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.commands.engine_options import check_engine, engine_options, open_engine
from training.commands.fine_tuning import check_fine_tuning, train_fine_tuned
from training.commands.options import (
    a_number,
    config_option,
    directory_option,
    files_option,
    json_option,
    log_option,
    resolve_objective_option,
    seed_option,
)

if TYPE_CHECKING:
    from policies.policy import Policy
    from policies.settings import PolicySettings
    from training.log.log_folder import LogPlace
    from training.tables.outcomes import OutcomeTable
    from training.tables.warm_start import WarmStart


@click.command()
@log_option("--logs", help="A log directory, as export and replay write it.")
@files_option("--outcomes", help="A .jsonl or .jsonl.gz table; may be repeated.")
@click.option("--split", help="Only this split of the outcomes.")
@directory_option("--to", required=True, help="The policy's directory; one there is replaced.")
@seed_option
@click.option(
    "--holdout",
    type=click.FloatRange(0.0, 1.0, max_open=True),
    callback=a_number,
    help="Share of the log, the latest, left for evaluate and promote.  [default: 0.3, or 0 where "
    "that leaves too little for the gate]",
)
@click.option(
    "--objective",
    help="Name or JSON, by which candidates are compared on logs.  [default: each request's own]",
)
@directory_option(
    "--fine-tune",
    metavar="ENCODER_DIR",
    help="On outcomes: fine-tune the configured static encoder too, and write it to this new "
    "directory where it is clearly better out of fold. Needs the extra `encoders`.",
)
@click.option(
    "--tenants/--no-tenants",
    default=True,
    show_default=True,
    help="On logs: learn what a tenant's outcomes add to everybody's.",
)
@engine_options
@config_option
@json_option
def command(
    logs: "LogPlace | None",
    outcomes: tuple[Path, ...],
    split: str | None,
    to: Path,
    seed: int,
    holdout: float | None,
    objective: str | None,
    fine_tune: Path | None,
    tenants: bool,
    engine: str,
    scheduler: str | None,
    scratch: "LogPlace | None",
    config: Path | None,
    as_json: bool,
) -> None:
    """Train a policy from logs or from outcomes, or from logs with outcomes as a warm start.

    From logs, candidates learn from cross-fitted doubly robust pseudo-outcomes of the earlier
    decisions, and a default is kept unless another is clearly better; the latest share of
    the log is left for judging it. The objective isn't part of a policy: it arrives with a request.

    \b
    Examples:
      rag-policy train --logs logs/ --to policy/
      rag-policy train --outcomes table.jsonl.gz --split train --to policy/
      rag-policy train --logs logs/ --outcomes table.jsonl.gz --to policy/ --seed 7 --json
      rag-policy train --outcomes table.jsonl.gz --fine-tune my-encoder/ --to policy/
      rag-policy train --logs logs/ --to policy/ --engine dask --scheduler tcp://host:8786
    """
    from policies.artifact import write_artifact
    from policies.settings import read_policy_settings

    if logs is None and not outcomes:
        raise click.UsageError("give --logs, --outcomes or both")
    if split is not None and not outcomes:
        raise click.UsageError("--split needs --outcomes")
    if fine_tune is not None and (logs is not None or not outcomes):
        raise click.UsageError(
            "--fine-tune needs --outcomes, without --logs: it learns from queries' texts with "
            "every arm's outcome"
        )
    check_engine(engine, scheduler, logs)
    settings = read_policy_settings(config)
    weights = None if objective is None else resolve_objective_option(objective, settings).weights
    if fine_tune is not None:
        check_fine_tuning(fine_tune, settings)
    table, warm = _outcomes(outcomes, split, settings) if outcomes else (None, None)
    source: dict[str, object] = {"outcomes": [str(path.resolve()) for path in outcomes]}
    source["split"] = split
    policy: Policy
    if logs is None:
        assert table is not None
        assert warm is not None
        source = {"source": "outcomes", **source}
        if fine_tune is None:
            policy = _from_outcomes(warm, seed, source)
        else:
            policy = train_fine_tuned(table, warm, settings, fine_tune, seed, source)
    else:
        from training.commands.train_on_logs import (
            Wanted,
            source_of,
            train_on_logs,
            warm_start_beside,
        )
        from training.log.log_files import has_decisions

        wanted = Wanted(holdout, weights, tenants, seed)
        warm = warm_start_beside(logs, warm)
        if warm is not None and not has_decisions(logs):
            policy = _from_outcomes(warm, seed, {**source_of(logs), **source})
        else:
            with open_engine(engine, scheduler) as opened:
                policy = train_on_logs(logs, warm, wanted, opened, scratch, source)
    write_artifact(policy.artifact(), to)
    _report(policy, to, as_json)


def _outcomes(
    outcomes: tuple[Path, ...], split: str | None, settings: "PolicySettings"
) -> "tuple[OutcomeTable, WarmStart]":
    from training.progress import progress
    from training.tables.outcomes import read_outcomes
    from training.tables.query_features import query_features
    from training.tables.warm_start import warm_start_of

    with progress("reading outcomes") as advance:
        table = read_outcomes(outcomes, split=split, advance=advance)
    with progress("computing features", total=len(table)) as advance:
        features = query_features(table.queries, settings.encoder, advance=advance)
    return table, warm_start_of(table, features)


def _from_outcomes(warm: "WarmStart", seed: int, source: dict[str, object]) -> "Policy":
    from training.fit.trained_policy import OUTCOME_STEPS, train_on_outcomes
    from training.progress import progress

    with progress("fitting reward models", total=OUTCOME_STEPS) as advance:
        return train_on_outcomes(warm, seed=seed, source=source, advance=advance)


def training_facts(policy: "Policy", to: Path) -> dict[str, object]:
    """What `--json` prints: where the policy is, and its manifest."""
    import msgspec

    return {"policy": str(to), **msgspec.structs.asdict(policy.artifact().manifest)}


def _report(policy: "Policy", to: Path, as_json: bool) -> None:
    import msgspec

    from training.progress import note

    manifest = policy.artifact().manifest
    if manifest.training.get("held_out") == 0:
        note(
            "note: no logged decision is left to judge the policy by: let the service run on, "
            "export again, then evaluate and promote"
        )
    if as_json:
        click.echo(msgspec.json.encode(training_facts(policy, to)))
        return
    from rich.console import Console

    from training.fit.training_table import tenants_line, training_table

    console = Console()
    console.print(training_table(manifest))
    if line := tenants_line(manifest):
        console.print(line)
    console.print(
        f"policy {manifest.version} ({manifest.name}) in {to}: "
        f"{manifest.training['rows']:,} rows, arms {', '.join(manifest.arms)}, "
        f"metrics {', '.join(manifest.metrics)}"
    )
