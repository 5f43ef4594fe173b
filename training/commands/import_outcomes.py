"""`rag-policy import`: full-information rows as a warm start beside a log."""

from pathlib import Path

import click

from training.commands.options import config_option, directory_option, files_option, json_option


@click.command()
@files_option("--outcomes", required=True, help="A .jsonl or .jsonl.gz table; may be repeated.")
@directory_option("--to", required=True, help="The log directory whose training starts from it.")
@click.option("--split", help="Only the rows of this split.")
@config_option
@json_option
def command(
    outcomes: tuple[Path, ...], to: Path, split: str | None, config: Path | None, as_json: bool
) -> None:
    """Store an outcomes table as a warm start.

    The rows are checked, their features computed, and all of it stored under DIR/outcomes/, from
    where `rag-policy train --logs DIR` reads it. Importing the same rows again changes nothing.

    \b
    Examples:
      rag-policy import --outcomes table.jsonl.gz --split train --to logs/
      rag-policy import --outcomes one.jsonl --outcomes two.jsonl --to logs/ --json
    """
    import msgspec

    from policies.settings import read_policy_settings
    from training.progress import progress
    from training.tables.outcomes import read_outcomes
    from training.tables.query_features import query_features
    from training.tables.warm_start import import_path, write_warm_start

    encoder = read_policy_settings(config).encoder
    report = []
    for path in outcomes:
        with progress(f"reading {path.name}") as advance:
            table = read_outcomes([path], split=split, advance=advance)
        with progress("computing features", total=len(table)) as advance:
            features = query_features(table.queries, encoder, advance=advance)
        target = import_path(to, table, split, features.version)
        already = target.exists()
        if not already:
            write_warm_start(table, features, target)
        report.append(
            {
                "from": str(path),
                "rows": len(table),
                "arms": list(table.arms),
                "metrics": list(table.metrics),
                "file": str(target),
                "already_there": already,
            }
        )
    if as_json:
        click.echo(msgspec.json.encode({"imported": report}))
        return
    for done in report:
        verb = "was imported before as" if done["already_there"] else "imported to"
        click.echo(f"{done['from']}: {done['rows']:,} rows {verb} {done['file']}")
