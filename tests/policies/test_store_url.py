"""URLs of stores: one server, a cluster, a primary with Sentinels."""

import pytest

from policies.store_url import StoreAddress, parse_store_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://host:1/2", StoreAddress(kind="server", url="redis://host:1/2")),
        (
            "rediss://h/1?socket_timeout=2.5&ssl_ca_certs=ca.pem",
            StoreAddress(kind="server", url="rediss://h/1?socket_timeout=2.5&ssl_ca_certs=ca.pem"),
        ),
        ("unix:///run/a%20b", StoreAddress(kind="server", url="unix:///run/a%20b")),
        (
            "redis+cluster://a:7000,b,[::1]:7002",
            StoreAddress(kind="cluster", nodes=[("a", 7000), ("b", 6379), ("::1", 7002)]),
        ),
        (
            "rediss+cluster://ann:p%40ss@a/0",
            StoreAddress(
                kind="cluster", nodes=[("a", 6379)], tls=True, username="ann", password="p@ss"
            ),
        ),
        (
            "redis+sentinel://:word@a,b:5/my%20main",
            StoreAddress(
                kind="sentinel", nodes=[("a", 26379), ("b", 5)], password="word", service="my main"
            ),
        ),
        (
            "rediss+sentinel://a/main/3",
            StoreAddress(
                kind="sentinel", nodes=[("a", 26379)], tls=True, service="main", database=3
            ),
        ),
    ],
)
def test_a_url_names_what_to_connect_to(url: str, address: StoreAddress) -> None:
    assert parse_store_url(url) == address


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("redis://bob:old@h/1", "redis://bob:n%2Fw@h/1"),
        ("redis://h", "redis://:n%2Fw@h"),
        ("unix:///s", "unix://:n%2Fw@/s"),
    ],
)
def test_a_password_given_beside_the_url_goes_into_it(url: str, given: str) -> None:
    assert parse_store_url(url, password="n/w").url == given


def test_sentinels_have_a_password_of_their_own() -> None:
    address = parse_store_url("redis+sentinel://a/m", password="one", sentinel_password="two")
    assert (address.password, address.sentinel_password) == ("one", "two")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://host", "must begin with redis://"),
        ("host:6379", "must begin with redis://"),
        ("redis+magic://host", "must begin with redis://"),
        ("redis://host:99999", "wrong port"),
        ("redis://host/x", "database's number"),
        ("redis://h/0?socket_timeout=abc", "has a .socket_timeout that is no number"),
        ("redis://h/0?foo=1", "a .option that isn't known: those of redis:// are db, "),
        ("redis://h?ssl_ca_certs=ca.pem", "isn't known"),
        ("redis+cluster://", "names no host"),
        ("redis+cluster://a,,b", "names no host"),
        ("redis+cluster://a:x", "wrong port"),
        ("redis+cluster://a/1", "only one"),
        ("redis+cluster://a?x=1", "no .options"),
        ("redis+sentinel://a", "what the Sentinels call the primary"),
        ("redis+sentinel://a/main/x", "database's number"),
        ("redis+cluster://me@a:6379,me@b:6379", "once, before all hosts"),
        ("redis://a:6379,b:6379/0", "several hosts"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_store_url(url)


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "redis+sentinel"])
@pytest.mark.parametrize("password", ["hunter2/x", "hunter2#x", "hunter2?x", "hunter2@x"])
def test_what_is_wrong_with_a_url_is_said_without_its_password(scheme: str, password: str) -> None:
    with pytest.raises(ValueError, match="escaped") as raised:
        parse_store_url(f"{scheme}://user:{password}@host:6379/main")
    assert "hunter2" not in str(raised.value)
