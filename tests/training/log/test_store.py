"""The way to a store: a URL or a data directory, and errors that say what to do."""

from pathlib import Path

import pytest
import redis

from router.embedded_store import EmbeddedStore
from tests.stores import StoreServer
from training.errors import InputError
from training.log.store import StoreError, connect, shown, store_errors


def test_a_url_or_a_running_services_directory_will_do(tmp_path: Path) -> None:
    """Both lead to the same store."""
    with EmbeddedStore(tmp_path / "it's here") as store:
        with connect(store.url) as client:
            client.set("key", "value")
        with connect(str(tmp_path / "it's here")) as client:
            assert client.get("key") == b"value"


@pytest.mark.parametrize("before", ["never", "stopped", "killed"])
def test_a_directory_without_a_service_says_how_to_start_one(tmp_path: Path, before: str) -> None:
    """Whether there never was one, it was stopped, or killed with its url file left behind."""
    if before != "never":
        with EmbeddedStore(tmp_path) as store:
            url = store.url
        if before == "killed":
            (tmp_path / "store.url").write_text(url)
    with pytest.raises(InputError, match=f"no service runs on {tmp_path}: start `rag-router serve"):
        connect(str(tmp_path))


def test_a_url_of_another_kind_is_refused() -> None:
    """With the kinds that will do."""
    with pytest.raises(InputError, match="http://localhost is no store's URL"):
        connect("http://localhost")


def test_a_store_that_doesnt_answer_is_named_without_its_password(
    valkey_server: StoreServer,
) -> None:
    """One error for all that can fail on the way, too."""
    valkey_server.kill()
    with pytest.raises(StoreError, match="can't be used: .*is it running"):
        connect(valkey_server.url)
    with (
        pytest.raises(StoreError, match="redis://host:6379/0 can't be used: gone"),
        store_errors("redis://me:secret@host:6379/0"),
    ):
        raise redis.ConnectionError("gone")
    assert shown("redis://me:secret@host:6379/0") == "redis://host:6379/0"
    assert shown("redis+cluster://me:sec/ret@a:6379,b") == "redis+cluster://a:6379,b"
