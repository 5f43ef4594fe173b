"""The files under a path, and where each stands."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec

from policies.errors import SettingsError
from router.indexing.parsers import PARSERS
from router.indexing.parsers.jsonl import SUFFIXES as JSONL_SUFFIXES


class SourceFile(msgspec.Struct, frozen=True):
    """A file that can be indexed. `location` is its address, and names it from run to run."""

    path: Path
    location: str
    bytes: int
    modified: float


class Sources(msgspec.Struct):
    """The files found, the locations that couldn't be read, and how many were left out."""

    files: list[SourceFile] = []
    unreadable: list[str] = []
    skipped: int = 0


def find_sources(root: Path, location: str) -> Sources:
    """All files that can be indexed at or under a path, in a fixed order.

    Hidden files and directories under the path, files of other formats and whatever isn't a plain
    file are left out. Links are followed, but no directory is entered twice.
    """
    sources = Sources()
    if not root.is_dir():
        _take(root, location, sources)
        return sources
    entered: set[tuple[int, int]] = set()
    for directory, names in _directories(root, entered, sources, root, location):
        for name in names:
            path = directory / name
            if name.startswith("."):
                sources.skipped += 1
            else:
                _take(path, _under(location, root, path), sources)
    return sources


def root_location(path: Path, base_uri: str | None) -> str:
    """Where a PATH of the command line stands: under `base_uri`, or as a file:// address.

    Raises:
        SettingsError: there is nothing at the path.
    """
    if not path.exists():
        raise SettingsError(f"there is nothing at {path}", field="PATH")
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    if base_uri is None:
        return absolute.as_uri()
    base = base_uri.rstrip("/")
    return base if path.is_dir() else f"{base}/{quote(os.fsencode(absolute.name))}"


def lies_under(location: str, root: str) -> bool:
    """Whether a location is a root or lies below it."""
    return location == root or location.startswith(root.rstrip("/") + "/")


def is_known(path: Path) -> bool:
    """Whether a file's name ends like one of a format that can be read."""
    return is_jsonl(path) or path.suffix.lower() in PARSERS


def is_jsonl(path: Path) -> bool:
    """Whether each of its lines is a document."""
    return path.name.lower().endswith(JSONL_SUFFIXES)


def _directories(
    start: Path, entered: set[tuple[int, int]], sources: Sources, root: Path, location: str
) -> Iterator[tuple[Path, list[str]]]:
    """Each directory once, with the names of what it holds beside directories."""
    waiting = [start]
    while waiting:
        directory = waiting.pop()
        try:
            status = directory.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(directory) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            sources.unreadable.append(_under(location, root, directory))
            continue
        inner, names = [], []
        for entry in found:
            is_directory, hidden = _is_directory(entry), entry.name.startswith(".")
            if is_directory is False or (is_directory is None and hidden):
                names.append(entry.name)
            elif is_directory is None:
                sources.unreadable.append(_under(location, root, directory / entry.name))
            elif not hidden:
                inner.append(directory / entry.name)
        # Last in, first out: reversed, so that directories come in order.
        waiting += reversed(inner)
        yield directory, names


def _is_directory(entry: os.DirEntry[str]) -> bool | None:
    """None where nobody can tell: a link to itself, or into a directory that is closed to us."""
    try:
        return entry.is_dir()
    except OSError:
        return None


def _take(path: Path, location: str, sources: Sources) -> None:
    if not is_known(path):
        sources.skipped += 1
        return
    try:
        status = path.stat()
    except OSError:  # such as a link to nowhere
        sources.unreadable.append(location)
        return
    if stat.S_ISREG(status.st_mode):
        sources.files.append(SourceFile(path, location, status.st_size, status.st_mtime))
    else:
        sources.skipped += 1


def _under(location: str, root: Path, path: Path) -> str:
    relative = os.fsencode(path.relative_to(root).as_posix())
    return location if relative == b"." else f"{location.rstrip('/')}/{quote(relative)}"
