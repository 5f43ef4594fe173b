"""What `rag-router index` does with its options."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec

from policies.arms import did_you_mean
from policies.encoders import Encoder, load_encoder
from policies.errors import SettingsError
from router.indexing.index_run import IndexReport, IndexRun, Root
from router.indexing.open_index import open_index
from router.indexing.parsers import PARSERS
from router.indexing.parsers.jsonl import SUFFIXES as JSONL_SUFFIXES
from router.indexing.passages import Cutting, PassageCutter
from router.indexing.progress import byte_progress
from router.indexing.sources import is_known, root_location
from router.settings import RetrieverSettings, Settings

DEFAULT_INDEX = "index/"
# RFC 3986, section 3.1; one letter before the colon is a drive.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[^\s]+")


class IndexRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The command's options; `configured` says whether a configuration was named."""

    paths: Sequence[Path]
    configured: bool = True
    retriever: str | None = None
    to: str | None = None
    tenant: str = ""
    base_uri: str | None = None
    chunk_chars: int = 1200
    overlap: int = 0


def index_documents(
    request: IndexRequest, settings: Settings, environ: Mapping[str, str]
) -> IndexReport:
    """Bring the index up to date with the paths; failures go to standard error as they happen.

    Raises:
        SettingsError: options that don't fit together, or don't fit the configuration.
        RetrievalError: the index can't be read or written.
    """
    target = target_of(request, settings)
    roots = _roots(request)
    encoder = load_encoder(target.encoder)
    return asyncio.run(_run(request, target, roots, encoder, environ))


def target_of(request: IndexRequest, settings: Settings) -> RetrieverSettings:
    """The retriever whose index is to be filled.

    Raises:
        SettingsError: none, or several, and nothing says which.
    """
    if request.to is not None:
        if request.retriever is not None:
            raise SettingsError("give --to or --retriever, not both", field="--to")
        if not request.to.strip():
            raise SettingsError("--to is empty: name a directory or a URL", field="--to")
        return RetrieverSettings(kind="lancedb", path=request.to)
    if request.retriever is not None:
        return _named(request.retriever, request, settings)
    own = {name: table for name, table in settings.retrievers.items() if table.kind != "http"}
    if not settings.retrievers:
        return RetrieverSettings(kind="lancedb", path=DEFAULT_INDEX)
    if len(own) != 1:
        names = ", ".join(own) or "none that can be filled"
        raise SettingsError(
            f"the configuration has {names}: name one with --retriever", field="--retriever"
        )
    return next(iter(own.values()))


def summary(report: IndexReport) -> str:
    """The run in one line."""
    left_out = (
        (report.failed, f"{report.failed:,} failed"),
        (report.empty, f"{report.empty:,} without text"),
        (report.skipped, f"{_counted(report.skipped, 'file')} skipped"),
    )
    return (
        f"{_counted(report.added, 'document')} added, {report.updated:,} updated, "
        f"{report.unchanged:,} unchanged, {report.removed:,} removed"
        + "".join(f", {what}" for count, what in left_out if count)
        + f"; {_counted(report.passages, 'passage')} written in {report.seconds:.1f} s"
    )


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


async def _run(
    request: IndexRequest,
    target: RetrieverSettings,
    roots: Sequence[Root],
    encoder: Encoder,
    environ: Mapping[str, str],
) -> IndexReport:
    cutting = Cutting(chars=request.chunk_chars, overlap=request.overlap, tenant=request.tenant)
    cutter = PassageCutter(cutting)
    index = open_index(target, environ=environ, encoder=encoder)
    try:
        with byte_progress("indexing") as progress:
            run = IndexRun(index, encoder, cutter, on_failure=_tell)
            return await run.run(roots, progress=progress)
    finally:
        await index.close()


def _named(name: str, request: IndexRequest, settings: Settings) -> RetrieverSettings:
    if name not in settings.retrievers:
        hint = did_you_mean(name, settings.retrievers)
        if not request.configured:
            hint = ": no configuration was given, name one with --config"
        raise SettingsError(f"there is no [retrievers.{name}]{hint}", field="--retriever")
    return settings.retrievers[name]


def _roots(request: IndexRequest) -> list[Root]:
    if request.base_uri is not None and len(request.paths) > 1:
        raise SettingsError("--base-uri takes one PATH at a time", field="--base-uri")
    if request.base_uri is not None and not _SCHEME.fullmatch(request.base_uri):
        raise SettingsError(
            "--base-uri must be a URI, such as https://docs.example.com", field="--base-uri"
        )
    for path in request.paths:
        if path.is_file() and not is_known(path):
            formats = ", ".join((*PARSERS, *JSONL_SUFFIXES))
            raise SettingsError(f"{path} has none of the formats {formats}", field="PATH")
    return [Root(path, root_location(path, request.base_uri)) for path in request.paths]


def _tell(message: str) -> None:
    click.echo(f"rag-router: {message}", err=True)
