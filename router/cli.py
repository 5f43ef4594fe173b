"""`rag-router`: serve, and check a configuration."""

import sys
from pathlib import Path

import click

from policies.errors import PolicyError
from policies.version import VERSION
from router.settings import read_settings

_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration, router.toml. Without it: three default arms, an embedded store.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="rag-router")
def cli() -> None:
    """Decide, for every query: a fine-tuned model's answer, a retrieved one, or both."""


@cli.command()
@_CONFIG
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0: any free one.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes."
)
@click.option(
    "--data",
    default=Path(".rag-router"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the embedded store, the spool and the cached policy.",
)
def serve(config_path: Path | None, host: str, port: int, workers: int, data: Path) -> None:
    """Serve decisions over HTTP.

    \b
    Examples:
      rag-router serve
      rag-router serve --config router.toml --host 0.0.0.0 --port 8080 --workers 2
      curl -s localhost:8000/v1/route -d '{"query": "What changed in the law this week?"}'
    """
    from router.serve import serve as run

    run(read_settings(config_path), host=host, port=port, workers=workers, data=data)


@cli.command()
@_CONFIG
def check(config_path: Path | None) -> None:
    """Check a configuration and the secrets it names, and say what it amounts to.

    \b
    Example:
      rag-router check --config router.toml
    """
    import os

    from router.serve import require_startable

    settings = read_settings(config_path)
    require_startable(settings, os.environ)
    click.echo(f"arms:       {', '.join(f'{a.name} ({a.route})' for a in settings.arm_list())}")
    objectives = (
        name + (" (default)" if name == settings.default_objective else "")
        for name in settings.all_objectives()
    )
    click.echo(f"objectives: {', '.join(objectives)}")
    click.echo(f"encoder:    {settings.encoder}")
    click.echo(f"store:      {'embedded' if settings.redis.url is None else 'configured'}")
    click.echo("The configuration is sound.")


def main() -> None:
    """Entry point: a message and an exit status, never a traceback, for what a user can cause."""
    try:
        cli(standalone_mode=True)
    except PolicyError as error:
        where = f" [{error.field}]" if error.field and error.field not in str(error) else ""
        click.echo(f"rag-router: {error}{where}", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"rag-router: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
