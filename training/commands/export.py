"""`rag-policy export`: the service's log as Parquet."""

from collections.abc import Callable
from datetime import UTC, datetime

import click
import msgspec

from policies.store_keys import DEFAULT_PREFIX
from training.commands.options import json_option, log_option
from training.commands.schedule_options import every_option, shown_duration
from training.commands.store_options import secret_options
from training.errors import EmptyLogError
from training.exits import FAILED, CommandFailed, errors_as_exits
from training.log.export import ExportReport, LogExport
from training.log.export_streams import entry_number
from training.log.log_folder import LogPlace
from training.log.parts import TENANT_FOLDERS
from training.log.store import (
    DEFAULT_LOCATION,
    LOCATION_HELP,
    NoServiceError,
    Secrets,
    StoreRefusedError,
    connect,
    store_errors,
)
from training.progress import note, progress
from training.schedule import again_and_again, stop_requests


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
@log_option(
    "--to",
    "destination",
    default="logs",
    show_default=True,
    help="Where the log is written: a directory, or s3://BUCKET/PREFIX on object storage.",
)
@click.option("--prefix", default=DEFAULT_PREFIX, show_default=True, help="As in redis.prefix.")
@click.option(
    "--trim",
    is_flag=True,
    help="Remove from the store what is safely written. /v1/decisions/{id} of those is gone then.",
)
@click.option(
    "--tenant-folders",
    default=TENANT_FOLDERS,
    show_default=True,
    type=click.IntRange(0),
    help="How many tenants get folders of their own at once, the largest; the others share one.",
)
@every_option("Export again and again, from start to start, such as 60s; stop it with SIGTERM.")
@json_option
def command(
    location: str,
    destination: LogPlace,
    prefix: str,
    trim: bool,
    tenant_folders: int,
    every_s: float | None,
    as_json: bool,
    secrets: Secrets,
) -> None:
    """Write decisions, answers and feedback to Parquet, by day and tenant.

    Run it as often as you like: each run adds what is new, and each event is written exactly once,
    even if a run is killed. Credentials of object storage come from the environment
    (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), its address too (AWS_ENDPOINT_URL, AWS_REGION)
    unless the location names it.

    With --every it goes on until SIGTERM or SIGINT, which let the run at hand end first; a second
    one doesn't. Each run prints a line. A store that is away is waited for; what only you can mend,
    such as a wrong password, ends it.

    \b
    Examples:
      rag-policy export --to logs/
      rag-policy export --from redis://store:6379/0 --to logs/ --trim
      rag-policy export --from redis+cluster://a:6379,b:6379 --password-env STORE_PASSWORD
      rag-policy export --from redis://store:6379/0 --to logs/ --trim --every 60s
      rag-policy export --to s3://logs/router --trim
      rag-policy export --to "s3://logs/router?endpoint_override=minio:9000&scheme=http"
    """

    def run() -> None:
        with (
            store_errors(location),
            connect(location, secrets) as client,
            LogExport(client, destination, prefix=prefix, tenant_folders=tenant_folders) as export,
            progress("exporting", total=export.pending()) as advance,
        ):
            report = export.run(trim=trim, advance=advance)
        click.echo(msgspec.json.encode(report) if as_json else _summary(report, destination))

    if every_s is None:
        run()
    else:
        _again_and_again(run, every_s)


def _again_and_again(run: Callable[[], None], every_s: float) -> None:
    def tried() -> None:
        try:
            with errors_as_exits():
                run()
        except CommandFailed as failed:
            if not _may_pass(failed):
                raise
            note(f"{failed.format_message()}; trying again every {shown_duration(every_s)}")

    with stop_requests(interrupts=False) as stop:
        again_and_again(tried, every_s, stop)


def _may_pass(failed: CommandFailed) -> bool:
    """Whether the next run may find things better without anybody's doing."""
    if isinstance(failed.__cause__, StoreRefusedError):
        return False
    waited_for = isinstance(failed.__cause__, (EmptyLogError, NoServiceError))
    return waited_for or failed.exit_code == FAILED


def _summary(report: ExportReport, destination: LogPlace) -> str:
    parts = [f"{report.trimmed:,} entries trimmed from the store"] if report.trimmed else []
    if report.unknown:
        parts.append(
            f"{report.unknown:,} events of a later release left out: upgrade, and export to a new "
            "directory to have them"
        )
    if report.damaged:
        parts.append(f"{report.damaged:,} damaged entries set aside, in {destination}/damaged")
    if report.missed:
        parts.append(
            f"WARNING: {report.missed:,} entries had been removed from the store before this log "
            "had them: does another export trim it? Only one destination of a store can"
        )
    for stream, entry in report.held_back.items():
        since = datetime.fromtimestamp(entry_number(entry)[0] / 1000, UTC)
        parts.append(
            f"trimming of {stream} is held back since {since:%Y-%m-%d %H:%M} UTC by entry {entry}, "
            "an event of a later release: upgrade, and export and trim to a new directory"
        )
    if report.files:
        rows = f"{report.decisions:,} decisions, {report.answers:,} answers"
        parts.insert(0, f"{rows} and {report.feedback:,} feedback written to {destination}")
    else:
        parts.insert(0, f"nothing new for {destination}")
    return "; ".join(parts)
