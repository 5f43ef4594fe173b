"""The embedded index on object storage: written and searched through a real S3 server."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from policies.encoders import Encoder
from router.retrieval.errors import RetrievalError
from router.retrieval.open_retriever import open_retriever
from router.retrieval.retriever import Passage, Search
from router.settings import RetrieverSettings
from tests.object_storage import BUCKET, ObjectStore

INDEX = f"s3://{BUCKET}/index"


def index(documents: Path, store: ObjectStore) -> dict[str, object]:
    command = [sys.executable, "-m", "router.cli", "index", str(documents), "--to", INDEX, "--json"]
    environ = {**os.environ, **store.environ}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    report: dict[str, object] = json.loads(done.stdout)
    return report


def search(text: str, encoder: Encoder) -> list[Passage]:
    settings = RetrieverSettings(kind="lancedb", path=INDEX, timeout_s=30.0)

    async def ask() -> list[Passage]:
        retriever = open_retriever(settings, environ={}, encoder=encoder)
        try:
            return list(await retriever.search(Search(text=text, k=1)))
        finally:
            await retriever.close()

    return asyncio.run(ask())


def test_an_index_lives_on_object_storage(
    object_store: ObjectStore, tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store.environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RetrievalError, match="nothing is indexed"):
        search("refunds", encoder)
    (tmp_path / "refunds.md").write_text("# Refunds\n\nRefunds take five days.\n")
    (tmp_path / "parcels.md").write_text("# Parcels\n\nParcels leave on Mondays.\n")
    assert index(tmp_path, object_store)["added"] == 2
    [found] = search("How long do refunds take?", encoder)
    assert found.title == "Refunds"
    (tmp_path / "refunds.md").unlink()
    again = index(tmp_path, object_store)
    assert (again["unchanged"], again["removed"]) == (1, 1)
    [found] = search("How long do refunds take?", encoder)
    assert found.title == "Parcels"
