"""`rag-policy export`: the service's log as Parquet."""

from pathlib import Path

import click
import msgspec

from policies.store_keys import DEFAULT_PREFIX
from training.commands.options import json_option
from training.commands.store_options import secret_options
from training.log.export import ExportReport, LogExport
from training.log.store import DEFAULT_LOCATION, LOCATION_HELP, Secrets, connect, store_errors
from training.progress import progress


@click.command()
@click.option(
    "--from",
    "location",
    default=DEFAULT_LOCATION,
    show_default=True,
    metavar="URL|DIR",
    help=LOCATION_HELP,
)
@secret_options
@click.option(
    "--to",
    "directory",
    default="logs",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The log's directory.",
)
@click.option("--prefix", default=DEFAULT_PREFIX, show_default=True, help="As in redis.prefix.")
@click.option(
    "--trim",
    is_flag=True,
    help="Remove from the store what is safely written. /v1/decisions/{id} of those is gone then.",
)
@json_option
def command(
    location: str, directory: Path, prefix: str, trim: bool, as_json: bool, secrets: Secrets
) -> None:
    """Write decisions, answers and feedback to Parquet, one directory a day.

    Run it as often as you like: each run adds what is new, and each event is written exactly once,
    even if a run is killed.

    \b
    Examples:
      rag-policy export --to logs/
      rag-policy export --from redis://store:6379/0 --to logs/ --trim
      rag-policy export --from redis+cluster://a:6379,b:6379 --password-env STORE_PASSWORD
    """
    with (
        store_errors(location),
        connect(location, secrets) as client,
        LogExport(client, directory, prefix=prefix) as export,
        progress("exporting", total=export.pending()) as advance,
    ):
        report = export.run(trim=trim, advance=advance)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        click.echo(_summary(report, directory))


def _summary(report: ExportReport, directory: Path) -> str:
    parts = [f"{report.trimmed:,} entries trimmed from the store"] if report.trimmed else []
    if report.unknown:
        parts.append(
            f"{report.unknown:,} events of a later release left out: upgrade, and export to a new "
            "directory to have them"
        )
    if report.damaged:
        parts.append(f"{report.damaged:,} damaged entries left out")
    if report.files:
        rows = f"{report.decisions:,} decisions, {report.answers:,} answers"
        parts.insert(0, f"{rows} and {report.feedback:,} feedback written to {directory}")
    else:
        parts.insert(0, f"nothing new for {directory}")
    return "; ".join(parts)
