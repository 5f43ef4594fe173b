"""Files that are written whole or not at all."""

import gzip
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast


@contextmanager
def lines_to(path: Path) -> Iterator[Callable[[bytes], object]]:
    """A function that writes one line; `-` is standard output, a name ending in .gz is compressed.

    The file appears when the block ends without an error; until then, and after one, whatever was
    there before stays.
    """
    if str(path) == "-":
        yield lambda line: sys.stdout.write(line.decode() + "\n")
        sys.stdout.flush()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as raw:
            packed = path.suffix == ".gz"
            file = cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="wb")) if packed else raw
            yield lambda line: file.write(line + b"\n")
            if packed:
                file.close()
            raw.flush()
            os.fsync(raw.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_durably(path: Path, content: Any) -> None:
    """Write anything with a buffer beside its place, sync it and rename it there.

    A file of that name is replaced. The directory is left for the caller to sync, once for all.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make a directory's entries durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
