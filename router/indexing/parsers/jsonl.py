"""JSONL: a document a line."""

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from router.indexing.content import Content, Part, UnknownTenantError, moment_in, one_line

SUFFIXES = (".jsonl", ".jsonl.gz")


class Line(msgspec.Struct, frozen=True):
    """One line; other fields are ignored."""

    text: str
    id: str | int | None = None
    title: str | None = None
    uri: str | None = None
    updated_at: str | None = None
    tenant: str | None = None


class NumberedLine(msgspec.Struct, frozen=True):
    """A line's number, counted from 1, its bytes, and how much of the file has been read by now."""

    number: int
    data: bytes
    position: int


_DECODER = msgspec.json.Decoder(Line)
_KEYS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TENANT_LIKE = re.compile(r"tenant(s|[_-]?ids?)?", re.IGNORECASE)


def numbered_lines(file: Path) -> Iterator[NumberedLine]:
    """The lines that aren't blank, one at a time.

    Raises:
        OSError: it can't be read.
        ValueError: its compressed data is broken, after the lines before that place.
    """
    with file.open("rb") as raw:
        stream: Iterable[bytes] = gzip.GzipFile(fileobj=raw) if file.suffix == ".gz" else raw
        try:
            for number, data in enumerate(stream, start=1):
                if data.strip():
                    yield NumberedLine(number, data, raw.tell())
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"its compressed data is broken: {error}") from error


def read_line(data: bytes) -> tuple[str, Content]:
    """The line's id, empty where it has none, and its content.

    Raises:
        ValueError: it isn't such an object, its date is none, or its tenant can't be told.
    """
    line = _DECODER.decode(data)
    _require_clear_tenant(data)
    content = Content(
        parts=(Part(line.text.replace("\0", "")),),
        title=one_line(line.title or ""),
        uri=line.uri or "",
        updated_at=moment_in(line.updated_at) if line.updated_at else None,
        tenant=line.tenant,
    )
    return "" if line.id is None else str(line.id), content


def _require_clear_tenant(data: bytes) -> None:
    """Other fields are ignored, but a document that names its owner must not become everybody's."""
    for key in _KEYS.decode(data):
        if key != "tenant" and _TENANT_LIKE.fullmatch(key.strip()):
            raise UnknownTenantError(f"{key!r} isn't known here: name the owner in `tenant`")
