"""`rag-policy report`: what a log tells its owner."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.commands.options import (
    config_option,
    directory_option,
    json_option,
    log_option,
    resolve_objective_option,
    seed_option,
)

if TYPE_CHECKING:
    from policies.policy import Policy
    from policies.settings import PolicySettings
    from training.log.log_folder import LogPlace
    from training.report.owner_report import OwnerReport


@click.command()
@log_option(
    "--logs", required=True, help="A log, as export and replay write it: a directory or s3://."
)
@directory_option("--policy", help="A candidate's directory, to be judged as promote would.")
@click.option(
    "--objective", help="A name, or weights as JSON.  [default: each request's own objective]"
)
@click.option(
    "--false-alarms",
    default=0.01,
    show_default=True,
    type=click.FloatRange(0.0, 0.5, min_open=True),
    help="The chance of a false alarm of each drift test.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report to this file, too, as a page that needs nothing else.",
)
@seed_option
@config_option
@json_option
def command(
    logs: "LogPlace",
    policy: Path | None,
    objective: str | None,
    false_alarms: float,
    html: Path | None,
    seed: int,
    config: Path | None,
    as_json: bool,
) -> None:
    """Say what each arm and route is worth, and whether the log can be trusted.

    Values with 95 % intervals for each arm and route and each metric; routes and values by day;
    missing feedback, fallbacks and flagged queries; drift tests with their false-alarm rates. With
    --policy, what the gate would say of it, and whether queries still are what it was trained on.
    The report holds no query's text.

    \b
    Examples:
      rag-policy report --logs logs/
      rag-policy report --logs logs/ --config router.toml --html report.html
      rag-policy report --logs logs/ --policy policy/ --objective balanced --json
    """
    import msgspec

    from policies.artifact import read_artifact
    from policies.loading import load_policy
    from policies.settings import read_policy_settings

    settings = read_policy_settings(config)
    weights = None if objective is None else resolve_objective_option(objective, settings).weights
    candidate = None if policy is None else load_policy(read_artifact(policy))
    report = _report(logs, candidate, settings, weights, false_alarms, seed)
    if html is not None:
        from training.atomic_file import lines_to
        from training.report.page import report_page

        with lines_to(html) as write:
            write(report_page(report).encode())
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    from rich.console import Console

    from training.judge.report_tables import report_tables

    Console().print(report_tables(report))


def _report(
    logs: "LogPlace",
    candidate: "Policy | None",
    settings: "PolicySettings",
    weights: dict[str, float] | None,
    false_alarms: float,
    seed: int,
) -> "OwnerReport":
    from training.log.join import join_rounds
    from training.log.log_files import read_log
    from training.progress import note, progress
    from training.remarks import remarks
    from training.report.owner_report import owner_report

    with progress("reading the log"):
        log = read_log(logs)
        version = None if candidate is None else candidate.feature_version or None
        rounds = join_rounds(log, source=logs, feature_version=version)
    for line in remarks(rounds):
        note(line)
    with progress("estimating and testing"):
        return owner_report(
            log,
            rounds,
            settings,
            objective=weights,
            policy=candidate,
            exploration=settings.exploration,
            false_alarm_rate=false_alarms,
            seed=seed,
        )
