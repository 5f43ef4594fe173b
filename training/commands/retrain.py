"""`rag-policy retrain`: the whole way from the log to what serves, once or on a schedule."""

import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.commands.engine_options import check_engine, engine_options
from training.commands.options import (
    a_number,
    config_option,
    directory_option,
    json_option,
    log_option,
    resolve_objective_option,
    seed_option,
)
from training.commands.registry_options import by_option, registry_options, user, wait_option
from training.commands.schedule_options import every_option, shown_duration
from training.exits import CommandFailed, errors_as_exits
from training.log.store import Secrets
from training.progress import note
from training.run_notes import note_success_at
from training.schedule import StopRequest, again_and_again, stop_requests

if TYPE_CHECKING:
    from training.log.log_folder import LogPlace

NEW_DECISIONS = 1_000
_URI = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


def _local(_context: click.Context, _option: click.Parameter, place: Path) -> Path:
    """Refuse the URI of object storage: a report is renamed into its place, and locked."""
    if _URI.match(str(place)):
        raise click.BadParameter(f"{place} is no local directory, and reports are kept in one")
    return place


@click.command()
@log_option("--logs", required=True, help="The log that `export` writes: a directory or s3://.")
@registry_options
@directory_option(
    "--reports",
    required=True,
    callback=_local,
    help="The local directory where each run's report is kept.",
)
@every_option("Run again and again, from start to start, such as 6h; stop it with SIGTERM.")
@click.option(
    "--keep",
    type=click.IntRange(1),
    help="Of runs that changed nothing, how many reports "
    "to keep, the latest; a promotion's stays.  [default: all]",
)
@click.option("--objective", help="A name, or weights as JSON.  [default: each request's own]")
@click.option(
    "--holdout",
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    callback=a_number,
    help="Share of the log, the latest, to judge by.  [default: 0.3, once that is enough for the "
    "gate]",
)
@click.option(
    "--new-decisions",
    default=NEW_DECISIONS,
    show_default=True,
    type=click.IntRange(0),
    help="How many the log must have gained before another policy is judged against the same "
    "incumbent: each such look is tested more strictly.",
)
@click.option(
    "--tenants/--no-tenants",
    default=True,
    show_default=True,
    help="Learn what a tenant's outcomes add to everybody's.",
)
@seed_option
@engine_options
@config_option
@by_option
@wait_option
@json_option
def command(
    logs: "LogPlace",
    location: str,
    prefix: str,
    secrets: Secrets,
    reports: Path,
    every_s: float | None,
    keep: int | None,
    objective: str | None,
    holdout: float | None,
    new_decisions: int,
    tenants: bool,
    seed: int,
    engine: str,
    scheduler: str | None,
    scratch: "LogPlace | None",
    config: Path | None,
    by: str | None,
    wait_s: float,
    as_json: bool,
) -> None:
    """Train on the log, and let the policy serve if the gate finds it proven better.

    Each run leaves a folder in REPORTS, named by when it began (UTC): the policy, train.json,
    evaluate.json, the owner's report.html, and verdict.json, which says what it came to. A
    run that fails or is stopped leaves one only if a look was taken or its policy may be active.

    Exits with status 0 where a policy was promoted and where the gate refused it, or the log had
    too little to tell: the output says which. With --every a run that fails is told on standard
    error, and the next one happens all the same; SIGTERM and SIGINT end it with status 0.

    \b
    Examples:
      rag-policy retrain --logs logs/ --reports reports/
      rag-policy retrain --logs logs/ --store redis://store:6379/0 --reports reports/ --json
      rag-policy retrain --logs s3://logs/router --store redis://store:6379/0 \
          --password-env STORE_PASSWORD --reports reports/ --every 1d --keep 30
    """
    from policies.settings import read_policy_settings
    from training.commands.retrain_report import printer
    from training.commands.retrain_run import Plan, retrain
    from training.commands.train_on_logs import Wanted
    from training.report_folders import ReportFolders

    check_engine(engine, scheduler, logs)
    settings = read_policy_settings(config)
    weights = None if objective is None else resolve_objective_option(objective, settings).weights
    plan = Plan(
        logs=logs,
        scratch=scratch,
        engine=engine,
        scheduler=scheduler,
        location=location,
        prefix=prefix,
        secrets=secrets,
        settings=settings,
        config=config,
        objective=objective,
        weights=weights,
        wanted=Wanted(holdout, weights, tenants, seed),
        new_decisions=new_decisions,
        by=by or user(),
        wait_s=wait_s,
    )
    folders, show = ReportFolders(reports, keep=keep), printer(as_json)
    with stop_requests(interrupts=True) as stop:

        def run() -> None:
            result = retrain(plan, folders, stop)
            note_success_at(location, prefix, secrets, "training")
            show(result)

        if every_s is None:
            run()
        else:
            _again_and_again(run, every_s, stop)


def _again_and_again(run: Callable[[], None], every_s: float, stop: StopRequest) -> None:
    def tried() -> None:
        try:
            with errors_as_exits():
                run()
        except CommandFailed as failed:
            note(f"failed: {failed.format_message()}; the next run is due as planned")
        except BrokenPipeError:
            raise  # who read our output has left: there is nobody to go on for
        except Exception:  # a fault of ours mustn't end the schedule either
            traceback.print_exc()
            note(f"failed; the next run is due as planned, every {shown_duration(every_s)}")

    try:
        again_and_again(tried, every_s, stop)
    except KeyboardInterrupt:
        note("stopped; the run at hand is given up")
