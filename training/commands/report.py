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
    from training.log.log_folder import LogPlace

# The chance of a false alarm of each drift test, where nobody says otherwise.
FALSE_ALARMS = 0.01


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
    default=FALSE_ALARMS,
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
    from training.commands.report_on_logs import report_on_logs, write_page

    settings = read_policy_settings(config)
    weights = None if objective is None else resolve_objective_option(objective, settings).weights
    candidate = None if policy is None else load_policy(read_artifact(policy))
    report = report_on_logs(logs, candidate, settings, weights, false_alarms, seed)
    if html is not None:
        write_page(report, html)
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    from rich.console import Console

    from training.judge.report_tables import report_tables

    Console().print(report_tables(report))
