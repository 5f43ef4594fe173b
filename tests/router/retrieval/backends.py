"""Each adapter over a real store, filled through the index port."""

import os
import shutil
import socket
import subprocess
import tempfile
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from qdrant_client import AsyncQdrantClient

from policies.encoders import Encoder
from router.indexing.documents import digest_of
from router.indexing.lancedb_index import LanceDbIndex
from router.indexing.memory_index import MemoryIndex
from router.indexing.passage_index import NewPassage, PassageIndex
from router.indexing.qdrant_index import QdrantIndex
from router.retrieval.http_retriever import HttpRetriever
from router.retrieval.lancedb_retriever import LanceDbRetriever
from router.retrieval.memory_retriever import MemoryRetriever
from router.retrieval.qdrant_retriever import QdrantRetriever
from router.retrieval.retriever import Passage, Retriever, Search
from router.retrieval.searchable import searchable_text
from tests.router.retrieval.search_service import http_service, searching
from tests.stores import wait_until

INDEX_KINDS = ("memory", "lancedb", "qdrant-local", "qdrant-server")
KINDS = (*INDEX_KINDS, "http")
PATIENT_S = 30.0


class Backend(msgspec.Struct):
    """A retriever, and the index that it searches."""

    retriever: Retriever
    index: PassageIndex
    encoder: Encoder

    async def hold(self, *passages: NewPassage) -> None:
        """Write them, making the index first where there is none."""
        await self.index.documents()
        if passages:
            texts = [searchable_text(new.title, new.text) for new in passages]
            await self.index.replace(passages, self.encoder.encode(texts))
        await self.index.finish()

    async def search(self, text: str, **wish: Any) -> Sequence[Passage]:
        return await self.retriever.search(Search(text=text, **wish))

    async def titles(self, text: str, **wish: Any) -> list[str]:
        """The found passages' titles, best first."""
        return [passage.title for passage in await self.search(text, **wish)]


def passage(
    title: str, text: str, *, tenant: str = "", updated_at: datetime | None = None, parts: int = 1
) -> NewPassage:
    """A document of one passage, known by its title."""
    return NewPassage(
        id=digest_of(title, "passage"),
        document=digest_of(title),
        source=f"file:///{title}.md",
        digest=digest_of(text),
        parts=parts,
        text=text,
        title=title,
        uri=f"https://docs.example/{title}",
        updated_at=updated_at,
        tenant=tenant,
    )


@asynccontextmanager
async def backend(kind: str, encoder: Encoder, directory: Path) -> AsyncIterator[Backend]:
    """An empty backend of a kind; skips the test where its server can't be had."""
    if kind in ("memory", "http"):
        memory = MemoryRetriever(encoder)
        with http_service(searching(memory)) as url:
            http = HttpRetriever(url, api_key=None, timeout_s=PATIENT_S)
            yield Backend(memory if kind == "memory" else http, MemoryIndex(memory), encoder)
            await http.close()
        return
    if kind == "lancedb":
        path = str(directory / "index")
        table = LanceDbIndex(path, "passages", encoder)
        held = LanceDbRetriever(path, "passages", encoder, timeout_s=PATIENT_S)
        yield Backend(held, table, encoder)
        await held.close()
        await table.close()
        return
    with _qdrant_client(kind, directory) as connect:
        name = f"passages-{uuid.uuid4().hex}"
        collection = QdrantIndex(connect, name, encoder, where=kind)
        found = QdrantRetriever(connect, name, encoder, where=kind, timeout_s=PATIENT_S)
        yield Backend(found, collection, encoder)
        await found.close()
        await collection.close()


@contextmanager
def _qdrant_client(kind: str, directory: Path) -> Any:
    """What connects: one shared client of the local mode, or new ones of a server."""
    if kind == "qdrant-local":
        local = AsyncQdrantClient(path=str(directory / "qdrant"))
        yield lambda: local
        return
    with _qdrant_server() as url:

        def connect() -> AsyncQdrantClient:
            return AsyncQdrantClient(url=url, timeout=30, check_compatibility=False)

        yield connect


@contextmanager
def _qdrant_server() -> Any:
    """The URL in QDRANT_URL, or of a server that is started where one is installed."""
    if url := os.environ.get("QDRANT_URL"):
        yield url
        return
    binary = shutil.which("qdrant")
    if binary is None:
        pytest.skip("no qdrant server: install one, or name a running one in QDRANT_URL")
    with tempfile.TemporaryDirectory() as directory:
        http, grpc = _free_port(), _free_port()
        environment = {
            **os.environ,
            "QDRANT__SERVICE__HOST": "127.0.0.1",
            "QDRANT__SERVICE__HTTP_PORT": str(http),
            "QDRANT__SERVICE__GRPC_PORT": str(grpc),
        }
        process = subprocess.Popen(
            [binary], cwd=directory, env=environment, stdout=subprocess.DEVNULL
        )
        try:
            wait_until(_answers(f"http://127.0.0.1:{http}/readyz"))
            yield f"http://127.0.0.1:{http}"
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(url: str) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    return answers
