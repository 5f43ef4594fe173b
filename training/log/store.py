"""The way to a service's store: by URL, or by the data directory of one that brings its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from training.errors import InputError, TrainingError

DEFAULT_LOCATION = ".rag-router"
_URL_FILE = "store.url"


class StoreError(TrainingError):
    """The store can't be reached, or failed on the way."""

    exit_status = 1


def connect(location: str = DEFAULT_LOCATION) -> redis.Redis:
    """A client of the store at a location: a redis://, rediss:// or unix:// URL, or a directory.

    The client doesn't decode responses and doesn't retry, since not everything sent may be sent
    twice. The caller closes it.

    Raises:
        InputError: the location is no such URL, or no service runs on the directory.
        StoreError: the store at the URL doesn't answer.
    """
    url = location if "://" in location else _url_of(Path(location).expanduser())
    try:
        client = redis.Redis.from_url(
            url, socket_connect_timeout=5.0, socket_timeout=30.0, retry=Retry(NoBackoff(), 0)
        )
    except ValueError as error:
        raise InputError(f"{shown(location)} is no store's URL: {error}", field="store") from error
    try:
        with store_errors(location):
            client.ping()
    except StoreError as error:
        client.close()
        if url != location:
            raise _no_service(Path(location)) from error
        raise
    return client


@contextmanager
def store_errors(location: str) -> Iterator[None]:
    """Turn the client's errors into one StoreError that names the store."""
    try:
        yield
    except redis.RedisError as error:
        reason = str(error) or type(error).__name__
        raise StoreError(
            f"the store at {shown(location)} can't be used: {reason}; is it running, and is the "
            "address right?"
        ) from error


def shown(location: str) -> str:
    """The location without a user's name and password."""
    parts = urlsplit(location)
    if "@" not in parts.netloc:
        return location
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _url_of(directory: Path) -> str:
    try:
        return (directory / _URL_FILE).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise _no_service(directory) from error


def _no_service(directory: Path) -> InputError:
    return InputError(
        f"no service runs on {directory}: start `rag-router serve --data {directory}`, or, if its "
        "store is elsewhere, name that: a redis:// URL",
        field="store",
    )
