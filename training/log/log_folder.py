"""Where a log lies: a local directory, or a prefix on S3-compatible object storage.

Both are read and written through pyarrow's file systems, so that Parquet is read from either in the
same way. A location is a path, or `s3://BUCKET/PREFIX?endpoint_override=HOST:PORT&scheme=http&region=R`
with all of the query optional: it wins over AWS_ENDPOINT_URL and AWS_REGION. Credentials come from
the environment, as for any AWS client (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), never from the
location.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import pyarrow.fs as pafs

from training.atomic_file import sync_directory, write_durably
from training.errors import InputError, TrainingError

_S3_SETTINGS = ("endpoint_override", "scheme", "region")
_CONNECT_S = 10.0
_UPLOADS = 8


class FolderError(TrainingError):
    """The object storage can't be reached, or refused."""

    exit_status = 1


class StoredFile(NamedTuple):
    """A file by its path below the folder that listed it, with `/` on any platform, and bytes."""

    name: str
    size: int


class LogFolder:
    """A folder; files in it are named by their path below it.

    `filesystem` and `path(name)` are what pyarrow's own readers take. `folder / name` is a folder
    in it, and `str(folder)` the location as it is shown to people.
    """

    def __init__(self, filesystem: Any, root: str, shown: str) -> None:
        """Store the parts; nothing is read, and nothing need be there."""
        self.filesystem = filesystem
        self.root = root
        self._shown = shown

    def __truediv__(self, name: str) -> "LogFolder":
        return type(self)(self.filesystem, self.path(name), f"{self._shown.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self._shown

    def path(self, name: str) -> str:
        """A file's path in the file system."""
        return f"{self.root}/{name}"

    def exists(self) -> bool:
        """Whether anything is there; raises InputError where that is a file."""
        with self._errors():
            found = self.filesystem.get_file_info(self.root).type
        if found == pafs.FileType.File:
            raise InputError("is a file, not a directory: name another", path=self)
        return bool(found == pafs.FileType.Directory)

    def files(self, below: str = "", *, recursive: bool = True) -> list[StoredFile]:
        """All files below the folder, or below a folder in it, in order of their names.

        Without `recursive` those directly in it.
        """
        start = self.path(below) if below else self.root
        selector = pafs.FileSelector(start, allow_not_found=True, recursive=recursive)
        with self._errors():
            found = self.filesystem.get_file_info(selector)
        cut = len(self.root) + 1
        return sorted(
            StoredFile(info.path[cut:], info.size)
            for info in found
            if info.type == pafs.FileType.File
        )

    def read(self, name: str) -> bytes:
        """A file's content; raises FileNotFoundError."""
        with self._errors(), self.filesystem.open_input_file(self.path(name)) as file:
            return bytes(file.read())

    def open(self, name: str) -> Any:
        """A file for random access, closed by the caller; raises FileNotFoundError."""
        with self._errors():
            return self.filesystem.open_input_file(self.path(name))

    def write(self, name: str, content: Any) -> None:
        """Store one file, as `write_all` does."""
        self.write_all([(name, content)])

    def write_all(self, files: Iterable[tuple[str, Any]]) -> None:
        """Store files, each whole or not at all; they are durable when this returns.

        Args:
            files: names and contents (anything with a buffer), taken one after the other.
        """
        # Small objects take a round trip each, and hardly any work: several are on their way.
        with ThreadPoolExecutor(_UPLOADS) as pool:
            running = deque[Future[None]]()
            for name, content in files:
                if len(running) == _UPLOADS:
                    running.popleft().result()
                running.append(pool.submit(self._upload, name, content))
            for upload in running:
                upload.result()

    def _upload(self, name: str, content: Any) -> None:
        # An object appears when its upload is complete; until then an older one stays.
        with self._errors(), self.filesystem.open_output_stream(self.path(name)) as file:
            file.write(content)

    def delete(self, names: Iterable[str]) -> None:
        """Remove files; one that isn't there is fine."""
        for name in names:
            with self._errors():
                try:
                    self.filesystem.delete_file(self.path(name))
                except FileNotFoundError:
                    continue

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise FolderError(
                f"{self} can't be used: {error}; is the address right, and are AWS_ACCESS_KEY_ID "
                "and AWS_SECRET_ACCESS_KEY set?"
            ) from error


class LocalFolder(LogFolder):
    """A directory on this machine; what is written is synced to the disk."""

    def write_all(self, files: Iterable[tuple[str, Any]]) -> None:
        changed: dict[Path, None] = {}
        for name, content in files:
            path = Path(self.path(name))
            changed |= dict.fromkeys((path.parent, *make_directories(path.parent)))
            write_durably(path, content)
        for directory in changed:
            sync_directory(directory)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        yield  # the operating system's errors name the file already


# What commands carry: a plain path, or a folder on object storage; both know `/` and `str`.
LogPlace = Path | LogFolder


def log_folder(location: str | LogPlace) -> LogFolder:
    """The folder at a location: a path, a `file://` or an `s3://` URI. Nothing is contacted.

    Raises:
        InputError: it is another kind of URI, or one with an error in it.
    """
    if isinstance(location, LogFolder):
        return location
    if not is_uri(location):
        return _local(Path(location))
    if "#" in str(location):
        # To a URI that begins a fragment, which names no place: half of the path would be lost.
        raise InputError("write the # in the location as %23", field="location")
    parts = urlsplit(str(location))
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return _local(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return _object_storage(parts)
    raise InputError(
        f"{parts.scheme}:// is no place for a log: give a directory or s3://BUCKET/PREFIX",
        field="location",
    )


def is_uri(location: str | LogPlace) -> bool:
    """Whether a location is a URI rather than a path."""
    return isinstance(location, str) and "://" in location


def _local(path: Path) -> LocalFolder:
    return LocalFolder(pafs.LocalFileSystem(), path.absolute().as_posix(), str(path))


def _object_storage(parts: SplitResult) -> LogFolder:
    shown = f"s3://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if "@" in parts.netloc:
        raise InputError(
            "leave the credentials out and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: "
            "locations end up in logs",
            field=shown,
        )
    settings = dict(parse_qsl(parts.query, keep_blank_values=True))
    wrong = sorted(settings.keys() - set(_S3_SETTINGS))
    if wrong:
        raise InputError(
            f"no such setting {', '.join(wrong)}: there are {', '.join(_S3_SETTINGS)}", field=shown
        )
    key = PurePosixPath(unquote(parts.path).strip("/"))
    if not parts.netloc or ".." in key.parts:
        raise InputError("give s3://BUCKET/PREFIX", field=shown)
    try:
        filesystem = pafs.S3FileSystem(
            **(_s3_environment() | settings),
            connect_timeout=_CONNECT_S,
            allow_delayed_open=True,  # one PUT for what is small, instead of three requests
        )
    except (OSError, ValueError) as error:
        raise InputError(f"can't be used: {error}", field=shown) from error
    return LogFolder(filesystem, str(PurePosixPath(parts.netloc) / key), shown)


def _s3_environment() -> dict[str, str]:
    """What the environment says of the server; Arrow itself reads the credentials alone."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = next((os.environ[name] for name in names if os.environ.get(name)), "")
    regions = (os.environ.get(name) for name in ("AWS_REGION", "AWS_DEFAULT_REGION"))
    region = next((name for name in regions if name), "")
    found = {"region": region} if region else {}
    if endpoint:
        scheme, _, address = endpoint.rpartition("://")
        found |= {"endpoint_override": address.rstrip("/"), "scheme": scheme or "https"}
    return found


def make_directories(directory: Path) -> list[Path]:
    """Make it, parents included; the directories that have a new entry by that."""
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    for made in reversed(missing):
        made.mkdir(exist_ok=True)
    return [made.parent for made in missing]
