"""Where a store is, as a URL says it: one server, a Redis Cluster, or what Sentinels watch.

    redis://[user@]host[:6379][/database]           one server; rediss:// with TLS
    unix:///path/to/socket                          one server on this machine
    redis+cluster://[user@]host[:6379],host,...     some nodes of a Redis Cluster
    redis+sentinel://[user@]host[:26379],host,.../service[/database]

A `+cluster` or `+sentinel` URL that begins with `rediss` speaks TLS with every node. Here nothing
connects: this says what to connect to.
"""

from collections.abc import Callable
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import msgspec

SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
)
# What may follow ? in one server's URL, and how it is read; these begin with ssl_ only with TLS.
_OPTIONS: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("db", "health_check_interval", "max_connections", "protocol"), int),
    **dict.fromkeys(("socket_timeout", "socket_connect_timeout"), float),
    **dict.fromkeys(("client_name", "retry_on_timeout", "socket_keepalive"), str),
    **dict.fromkeys(("username", "password"), str),
    **dict.fromkeys(("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"), str),
    **dict.fromkeys(("ssl_cert_reqs", "ssl_check_hostname", "ssl_password"), str),
}
_PORTS = {"cluster": 6379, "sentinel": 26379}

Kind = Literal["server", "cluster", "sentinel"]


class StoreAddress(msgspec.Struct, frozen=True, kw_only=True):
    """What a client needs to reach a store.

    `url` is a single server's, its password included, as redis-py takes it; `nodes` are a cluster's
    or the Sentinels' hosts and ports, `service` is what the Sentinels call the primary. Sentinels
    have a password of their own.
    """

    kind: Kind
    url: str = ""
    nodes: list[tuple[str, int]] = []
    tls: bool = False
    username: str | None = None
    password: str | None = None
    service: str = ""
    database: int = 0
    sentinel_password: str | None = None


def parse_store_url(
    url: str, *, password: str | None = None, sentinel_password: str | None = None
) -> StoreAddress:
    """What a URL names; a password given beside it takes the place of one in it.

    Raises:
        ValueError: saying what is wrong with it, without its password.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        raise ValueError(f"must begin with {', '.join(f'{known}://' for known in SCHEMES)}")
    transport, _, kind = scheme.partition("+")
    if not kind:
        return _server(url, password)
    user, where = split_user(rest)
    if "?" in where or "#" in where:
        raise ValueError("takes no ?options: secrets belong in the environment")
    # Split by hand: the standard library knows one host, or one IPv6 address, per URL.
    hosts, _, path = where.partition("/")
    name, _, in_url = user.partition(":")
    address = StoreAddress(
        kind="cluster" if kind == "cluster" else "sentinel",
        nodes=[_node(node, _PORTS[kind]) for node in hosts.split(",")],
        tls=transport == "rediss",
        username=unquote(name) or None,
        password=password or unquote(in_url) or None,
        sentinel_password=sentinel_password,
    )
    return _of_cluster(address, path) if kind == "cluster" else _of_sentinel(address, path)


def split_user(rest: str) -> tuple[str, str]:
    """What stands after `://`: the user and password, and where the store is.

    Raises:
        ValueError: the user's part has what must be escaped there, so its end is unclear.
    """
    user, _, where = rest.rpartition("@")
    if set(user) & set("@/,?#"):
        raise ValueError(
            "has one of @ / , ? # before its last @: credentials stand once, before all hosts, and "
            "such characters are escaped in them (%40 for @); or an environment variable has them"
        )
    return user, where


def _server(url: str, password: str | None) -> StoreAddress:
    scheme, _, rest = url.partition("://")
    if scheme != "unix":
        _, where = split_user(rest)
        if "," in where.partition("/")[0]:
            raise ValueError(
                "names several hosts: begin with redis+cluster:// or redis+sentinel://"
            )
    parts = urlsplit(url)
    if parts.scheme != "unix":
        _port(parts)
        if parts.path not in ("", "/") and not parts.path[1:].isdigit():
            raise ValueError("may end with a database's number, such as /0")
    _require_options(parts)
    if password is not None:
        user, _, host = parts.netloc.rpartition("@")
        user = user.partition(":")[0]
        url = parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()
    return StoreAddress(kind="server", url=url, password=password or parts.password)


def _require_options(parts: SplitResult) -> None:
    tls = parts.scheme == "rediss"
    known = [name for name in _OPTIONS if tls or not name.startswith("ssl_")]
    if parts.scheme == "unix":
        known.remove("socket_keepalive")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ValueError(
                f"has a ?option that isn't known: those of {parts.scheme}:// are {', '.join(known)}"
            )
        try:
            _OPTIONS[name](value)
        except ValueError:
            raise ValueError(f"has a ?{name} that is no number") from None


def _of_cluster(address: StoreAddress, path: str) -> StoreAddress:
    if path not in ("", "0"):
        raise ValueError("names a database, and a Redis Cluster has only one: leave the path out")
    return address


def _of_sentinel(address: StoreAddress, path: str) -> StoreAddress:
    service, _, database = path.strip("/").partition("/")
    if not service:
        raise ValueError("must end with what the Sentinels call the primary, such as /mymaster")
    if database and not database.isdigit():
        raise ValueError("may end with a database's number, such as /mymaster/0")
    return msgspec.structs.replace(address, service=unquote(service), database=int(database or 0))


def _node(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("names no host: give host:port, or several with commas between them")
    return parts.hostname, _port(parts) or default_port


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        # The library's message quotes what it read, which may be a part of a password.
        raise ValueError("has a wrong port: a number up to 65535 follows the host") from None
