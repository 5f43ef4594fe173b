"""The way to a service's store: by URL, or by the data directory of one that brings its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import AuthenticationError, NoPermissionError, RedisClusterException
from redis.retry import Retry
from redis.sentinel import Sentinel

from policies.store_url import StoreAddress, parse_store_url
from training.errors import InputError, TrainingError

DEFAULT_LOCATION = ".rag-router"
LOCATION_HELP = (
    "The store: redis://, rediss://, unix://, redis+cluster://HOST:PORT,... or "
    "redis+sentinel://HOST:PORT,.../SERVICE, or a running service's data directory."
)
_URL_FILE = "store.url"
_CONNECT_S, _ANSWER_S, _SENTINEL_S = 5.0, 30.0, 2.0


class StoreError(TrainingError):
    """The store can't be reached, or failed on the way."""

    exit_status = 1


class StoreRefusedError(StoreError):
    """The store is there, and doesn't take the user's name or password, or its commands."""


class NoServiceError(InputError):
    """No service runs on a data directory; one may, a moment later."""


class Secrets(NamedTuple):
    """The environment variables that hold the store's password, and its Sentinels'."""

    password_env: str | None = None
    sentinel_password_env: str | None = None


def connect(location: str = DEFAULT_LOCATION, secrets: Secrets = Secrets()) -> redis.Redis:
    """A client of the store at a location: a URL as `policies.store_url` has them, or a directory.

    The client doesn't decode responses and doesn't retry, since not everything sent may be sent
    twice; of a cluster it is a redis.RedisCluster. The caller closes it.

    Raises:
        InputError: the location is no such URL, or a variable that should hold a password is unset.
        NoServiceError: no service runs on the directory.
        StoreRefusedError: the store doesn't take the password.
        StoreError: the store at the URL doesn't answer.
    """
    url = location if "://" in location else _url_of(Path(location).expanduser())
    client: redis.Redis | None = None
    try:
        with store_errors(location):
            client = _open(_address(url, location, secrets))
            client.ping()
    except StoreError as error:
        if client is not None:
            client.close()
        if url != location and not isinstance(error, StoreRefusedError):
            raise _no_service(Path(location)) from error
        raise
    return client


@contextmanager
def store_errors(location: str) -> Iterator[None]:
    """Turn the client's errors into one StoreError that names the store."""
    try:
        yield
    except (AuthenticationError, NoPermissionError) as error:
        raise StoreRefusedError(
            f"the store at {shown(location)} refuses: {error}; name its password's variable with "
            "--password-env, or give its user the right to these commands"
        ) from error
    except (redis.RedisError, RedisClusterException) as error:
        reason = str(error) or type(error).__name__
        raise StoreError(
            f"the store at {shown(location)} can't be used: {reason}; is it running, and is the "
            "address right?"
        ) from error


def shown(location: str) -> str:
    """The location without a user's name and password, however badly these are written."""
    scheme, separator, rest = location.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else location


def _address(url: str, location: str, secrets: Secrets) -> StoreAddress:
    try:
        return parse_store_url(
            url,
            password=_secret(secrets.password_env, "--password-env"),
            sentinel_password=_secret(secrets.sentinel_password_env, "--sentinel-password-env"),
        )
    except ValueError as error:
        raise InputError(
            f"{shown(location)} is no store's URL: it {error}", field="store"
        ) from error


def _secret(variable: str | None, option: str) -> str | None:
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise InputError(f"{option} names {variable}, which is unset or empty", field="store")
    return os.environ[variable]


def _open(address: StoreAddress) -> Any:
    options: dict[str, Any] = {
        "socket_connect_timeout": _CONNECT_S,
        "socket_timeout": _ANSWER_S,
        "retry": Retry(NoBackoff(), 0),
    }
    if address.kind == "server":
        return redis.Redis.from_url(address.url, **options)
    options |= {"username": address.username, "password": address.password}
    options |= {"ssl": True} if address.tls else {}
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.nodes]  # type: ignore[no-untyped-call]
        return redis.RedisCluster(startup_nodes=nodes, **options)
    return _sentinel(address).master_for(address.service, db=address.database, **options)


def _sentinel(address: StoreAddress) -> Any:
    options: dict[str, Any] = {
        "socket_connect_timeout": _SENTINEL_S,
        "socket_timeout": _SENTINEL_S,
        "retry": Retry(NoBackoff(), 0),
        "password": address.sentinel_password,
    }
    options |= {"ssl": True} if address.tls else {}
    return Sentinel(address.nodes, sentinel_kwargs=options)  # type: ignore[no-untyped-call]


def _url_of(directory: Path) -> str:
    try:
        return (directory / _URL_FILE).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise _no_service(directory) from error


def _no_service(directory: Path) -> NoServiceError:
    return NoServiceError(
        f"no service runs on {directory}: start `rag-router serve --data {directory}`, or, if its "
        "store is elsewhere, name that: a redis:// URL",
        field="store",
    )
