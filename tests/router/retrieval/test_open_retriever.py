"""From settings to a retriever: nothing is opened, and what is missing is named."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from policies.encoders import Encoder
from policies.errors import SettingsError
from router.retrieval.errors import IndexMissingError, RetrievalError
from router.retrieval.open_retriever import open_retriever
from router.retrieval.retriever import Search
from router.settings import RetrieverSettings

NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody listens


@pytest.mark.parametrize(
    "settings",
    [
        RetrieverSettings(kind="lancedb", path="/nowhere/index"),
        RetrieverSettings(kind="qdrant", url=NOWHERE),
        RetrieverSettings(kind="http", url=NOWHERE),
    ],
    ids=lambda settings: settings.kind,
)
async def test_opening_needs_nobody_and_searching_says_who_is_away(
    settings: RetrieverSettings, encoder: Encoder
) -> None:
    retriever = open_retriever(settings, environ={}, encoder=encoder)
    with pytest.raises(RetrievalError):
        await retriever.search(Search(text="cat"))
    await retriever.close()


@pytest.mark.parametrize("kind", ["qdrant", "http"])
async def test_a_silent_server_runs_into_the_time_limit(
    encoder: Encoder, kind: Literal["qdrant", "http"]
) -> None:
    """It takes the connection and never answers."""
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)  # until the caller gives up
        writer.close()
        left.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = RetrieverSettings(kind=kind, url=url, timeout_s=0.2)
    retriever = open_retriever(settings, environ={}, encoder=encoder)
    with pytest.raises(RetrievalError, match=r"didn't answer within 0\.2 s"):
        await retriever.search(Search(text="cat"))
    await retriever.close()
    await left.wait()
    server.close()


async def test_an_index_that_isnt_there_says_how_to_make_it(
    encoder: Encoder, tmp_path: Path
) -> None:
    for settings in (
        RetrieverSettings(kind="lancedb", path=str(tmp_path / "index")),
        RetrieverSettings(kind="qdrant", path=str(tmp_path / "qdrant")),
    ):
        retriever = open_retriever(settings, environ={}, encoder=encoder)
        with pytest.raises(IndexMissingError, match="rag-router index") as caught:
            await retriever.search(Search(text="cat"))
        await retriever.close()
        assert not caught.value.trips  # a breaker would keep the index unused once it is made
    assert not (tmp_path / "index").exists()


def test_an_unset_key_is_named(encoder: Encoder) -> None:
    settings = RetrieverSettings(kind="http", url=NOWHERE, api_key_env="SEARCH_KEY")
    with pytest.raises(SettingsError, match="names SEARCH_KEY, which is unset or empty") as caught:
        open_retriever(settings, environ={"SEARCH_KEY": " "}, encoder=encoder)
    assert caught.value.field == "api_key_env"


@pytest.mark.parametrize("key", ["clé-secret", "“secret”", "a\nb-secret"])
def test_a_key_that_no_header_can_carry_is_refused(encoder: Encoder, key: str) -> None:
    settings = RetrieverSettings(kind="http", url=NOWHERE, api_key_env="SEARCH_KEY")
    with pytest.raises(SettingsError, match="SEARCH_KEY, which holds characters") as caught:
        open_retriever(settings, environ={"SEARCH_KEY": key}, encoder=encoder)
    assert caught.value.field == "api_key_env"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [("lancedb", "lancedb", "index"), ("qdrant", "qdrant_client", "qdrant")],
)
def test_a_missing_extra_is_named(kind: str, package: str, extra: str) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None
from policies.encoders import load_encoder
from router.retrieval.open_retriever import open_retriever
from router.settings import RetrieverSettings
open_retriever(RetrieverSettings(kind={kind!r}, path="x"), environ={{}}, encoder=load_encoder())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"pip install 'adaptive-rag-router[{extra}]'" in ran.stderr


def test_the_service_starts_without_the_adapters_packages() -> None:
    code = "import sys, router.app, router.retrieval.open_retriever; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert not loaded & {"lancedb", "qdrant_client", "pyarrow", "pypdf", "inscriptis"}
