"""`rag-router`: serve, index documents, and check a configuration."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from policies.errors import PolicyError
from policies.version import VERSION
from router.retrieval.errors import RetrievalError
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
@click.option(
    "--grace",
    "grace_s",
    metavar="SECONDS",
    default=7,  # container engines wait for ten before they kill
    show_default=True,
    type=click.IntRange(1, 3600),
    help="How long answers under way may go on once it is told to stop.",
)
@click.option(
    "--drain",
    "drain_s",
    metavar="SECONDS",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    help="How long to serve on, not ready any more, once it is told to stop: until a load balancer "
    "has noticed.",
)
def serve(
    config_path: Path | None,
    host: str,
    port: int,
    workers: int,
    data: Path,
    grace_s: int,
    drain_s: float,
) -> None:
    """Serve decisions over HTTP.

    \b
    Examples:
      rag-router serve
      rag-router serve --config router.toml --host 0.0.0.0 --port 8080 --workers 2
      curl -s localhost:8000/v1/route -d '{"query": "What changed in the law this week?"}'
    """
    from router.serve import serve as run

    settings = read_settings(config_path)
    run(
        settings,
        host=host,
        port=port,
        workers=workers,
        data=data,
        grace_s=grace_s,
        drain_s=drain_s,
    )


@cli.command()
@click.argument(
    "paths",
    metavar="PATH...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@_CONFIG
@click.option("--retriever", metavar="NAME", help="Fill the index of [retrievers.NAME].")
@click.option(
    "--to",
    metavar="DIR",
    help="Fill the LanceDB index in this directory or object storage URL. Without --to and without "
    "retrievers in the configuration: index/.",
)
@click.option("--tenant", default="", help="Whose the documents are. Without it: everybody's.")
@click.option(
    "--base-uri",
    metavar="URI",
    help="The address of PATH in sources, such as https://docs.example.com. Without it: file://…",
)
@click.option("--chunk-chars", default=1200, show_default=True, help="A passage's greatest length.")
@click.option("--overlap", default=0, show_default=True, help="Characters that passages share.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on standard output.")
def index(
    paths: tuple[Path, ...],
    config_path: Path | None,
    retriever: str | None,
    to: str | None,
    tenant: str,
    base_uri: str | None,
    chunk_chars: int,
    overlap: int,
    as_json: bool,
) -> None:
    """Index documents: Markdown, text, HTML, PDF and JSONL files, or directories of them.

    Run it as often as you like: unchanged documents are skipped, and what is gone from a PATH is
    deleted. Exit status 1 says that some documents couldn't be indexed (the others were), or that
    the run was interrupted or couldn't reach the index.

    \b
    Examples:
      rag-router index docs/
      rag-router index handbook.pdf faq.jsonl --config router.toml --tenant acme
      rag-router index docs/ --to s3://bucket/index --base-uri https://docs.example.com
    """
    import os

    import msgspec

    # LanceDB would warn of a table that it is about to make.
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        from router.indexing.command import IndexRequest, index_documents, summary
    except ImportError as error:
        from router.retrieval.open_retriever import missing_extra

        raise missing_extra("lancedb") from error
    request = IndexRequest(
        paths=paths,
        configured=config_path is not None,
        retriever=retriever,
        to=to,
        tenant=tenant,
        base_uri=base_uri,
        chunk_chars=chunk_chars,
        overlap=overlap,
    )
    report = index_documents(request, read_settings(config_path), os.environ)
    click.echo(msgspec.json.encode(report) if as_json else summary(report))
    if report.failed:
        sys.exit(1)


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
    unequipped = require_startable(settings, os.environ)
    click.echo(f"arms:       {', '.join(f'{a.name} ({a.route})' for a in settings.arm_list())}")
    objectives = (
        name + (" (default)" if name == settings.default_objective else "")
        for name in settings.all_objectives()
    )
    click.echo(f"objectives: {', '.join(objectives)}")
    click.echo(f"encoder:    {settings.encoder}")
    for name, model in settings.models.items():
        click.echo(f"model:      {name}: {model.model} at {model.base_url}")
    for name, retriever in settings.retrievers.items():
        where = retriever.url or retriever.path
        click.echo(f"retriever:  {name}: {retriever.kind} at {where}")
    for name, reason in unequipped.items():
        click.echo(f"note:       arm {name} only decides: {reason}")
    click.echo(f"store:      {'embedded' if settings.redis.url is None else 'configured'}")
    click.echo("The configuration is sound.")


@cli.command("ask")
@click.argument("question")
@click.option(
    "--url", default="http://127.0.0.1:8000", show_default=True, help="The running service."
)
@click.option("--objective", help="An objective's name, or weights as JSON.")
@click.option("--arm", "arms", multiple=True, help="Take one of these arms only.")
@click.option("--tenant", default="", help="On whose behalf.")
@click.option(
    "--sources/--no-sources",
    "require_sources",
    default=False,
    help="Only take arms that can name sources.",
)
@click.option("--key-env", help="The environment variable that holds the caller's key.")
@click.option("--json", "as_json", is_flag=True, help="The whole response.")
def ask_command(
    question: str,
    url: str,
    objective: str | None,
    arms: tuple[str, ...],
    tenant: str,
    require_sources: bool,
    key_env: str | None,
    as_json: bool,
) -> None:
    """Ask a running service, and show its answer, sources and reasons.

    \b
    Examples:
      rag-router ask "Which version of the gateway is the latest?"
      rag-router ask "..." --objective cheap
      rag-router ask "..." --objective '{"quality": 1, "latency_s": -0.5}' --arm hybrid --json
    """
    from router.ask import ask

    request: dict[str, Any] = {"query": question, "tenant": tenant}
    if objective is not None:
        request["objective"] = _objective(objective)
    if arms:
        request["arms"] = list(arms)
    if require_sources:
        request["attributes"] = {"require_sources": True}
    ask(url, request, key_env=key_env, as_json=as_json)


def _objective(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.BadParameter(
            f"neither a name nor JSON: {error}", param_hint="--objective"
        ) from (error)


def main() -> None:
    """Entry point: a message and an exit status, never a traceback, for what a user can cause."""
    try:
        cli(standalone_mode=True)
    except RetrievalError as error:
        click.echo(f"rag-router: {error}", err=True)
        sys.exit(1)
    except PolicyError as error:
        where = f" [{error.field}]" if error.field and error.field not in str(error) else ""
        click.echo(f"rag-router: {error}{where}", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"rag-router: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
