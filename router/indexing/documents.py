"""The documents in a file: the file itself, or each line of a JSONL file."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import msgspec

from router.indexing.content import Content
from router.indexing.parsers import PARSERS
from router.indexing.parsers.jsonl import NumberedLine, numbered_lines, read_line
from router.indexing.sources import SourceFile, is_jsonl


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A document that was found but not yet taken apart.

    `id` stays the same as long as the document stays where it is; `digest` changes with its bytes.
    `read` may raise ValueError: it can't be parsed. `bytes_read` is the progress made in the file.
    """

    id: str
    source: str
    digest: str
    name: str
    uri: str
    modified: datetime
    read: Callable[[], Content]
    bytes_read: int


class Failure(msgspec.Struct, frozen=True):
    """Something that couldn't be indexed: where it stands, and why.

    `unread`: what it would have said isn't known, so what was indexed of its source is kept.
    """

    source: str
    where: str
    reason: str
    unread: bool = True


def documents_in(file: SourceFile) -> Iterator[Found | Failure]:
    """The documents of a file, one at a time, and what in it isn't one."""
    try:
        if is_jsonl(file.path):
            yield from _lines(file)
        else:
            yield _whole(file)
    except (OSError, ValueError, OverflowError) as error:  # the last: a time of change
        yield Failure(file.location, str(file.path), _reason(error))


def digest_of(*parts: str | bytes) -> str:
    """32 hexadecimal digits that stand for the parts, each with its length."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.hexdigest()


def _whole(file: SourceFile) -> Found:
    data = file.path.read_bytes()
    parser = PARSERS[file.path.suffix.lower()]
    return Found(
        id=digest_of(file.location),
        source=file.location,
        digest=digest_of(data),
        name=str(file.path),
        uri=file.location,
        modified=datetime.fromtimestamp(file.modified, UTC),
        read=lambda: parser(data),
        bytes_read=len(data),
    )


def _lines(file: SourceFile) -> Iterator[Found | Failure]:
    ids: set[str] = set()
    position = 0
    for line in numbered_lines(file.path):
        try:
            found = _line(file, line, line.position - position)
        except (ValueError, RecursionError) as error:
            yield Failure(file.location, f"{file.path}:{line.number}", _reason(error))
            continue
        position = line.position
        if found.id in ids:
            reason = "an earlier line has the same id or text"
            yield Failure(file.location, found.name, reason, unread=False)
            continue
        ids.add(found.id)
        yield found


def _line(file: SourceFile, line: NumberedLine, bytes_read: int) -> Found:
    """A line is known by its tenant and id; without an id by all it says."""
    name, content = read_line(line.data)
    key = ("id", content.tenant or "", name) if name else ("line", line.data.strip())
    return Found(
        id=digest_of(file.location, *key),
        source=file.location,
        digest=digest_of(line.data.strip()),
        name=f"{file.path}:{line.number}",
        uri=file.location,
        modified=datetime.fromtimestamp(file.modified, UTC),
        read=lambda: content,
        bytes_read=bytes_read,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return " ".join(str(error).split())[:300] or type(error).__name__
