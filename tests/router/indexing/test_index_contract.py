"""What every index does, over its real store."""

import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from policies.encoders import Encoder
from router.indexing.documents import digest_of
from router.indexing.passage_index import HeldDocument, NewPassage
from tests.router.retrieval.backends import INDEX_KINDS, Backend, backend, passage


@pytest.fixture(params=INDEX_KINDS)
async def held(
    request: pytest.FixtureRequest, encoder: Encoder, tmp_path: Path
) -> AsyncIterator[Backend]:
    async with backend(request.param, encoder, tmp_path) as opened:
        yield opened


def parts_of(title: str, *texts: str, parts: int | None = None) -> list[NewPassage]:
    """One document of several passages."""
    whole = passage(title, " ".join(texts), parts=len(texts) if parts is None else parts)
    return [msgspec.structs.replace(whole, id=digest_of(title, text), text=text) for text in texts]


async def test_it_tells_what_it_holds(held: Backend) -> None:
    await held.hold(*parts_of("a", "one", "two"), passage("b", "three"))
    assert dict(await held.index.documents()) == {
        digest_of("a"): HeldDocument("file:///a.md", digest_of("one two")),
        digest_of("b"): HeldDocument("file:///b.md", digest_of("three")),
    }


async def test_a_document_written_in_part_counts_as_changed(held: Backend) -> None:
    await held.hold(*parts_of("a", "one", "two", parts=3))
    assert (await held.index.documents())[digest_of("a")].digest == ""


async def test_replacing_leaves_nothing_of_the_old_version(held: Backend) -> None:
    await held.hold(*parts_of("a", "one", "two", "three"), passage("b", "four"))
    await held.hold(*parts_of("a", "one", "five"))
    documents = await held.index.documents()
    assert documents[digest_of("a")].digest == digest_of("one five")
    assert set(documents) == {digest_of("a"), digest_of("b")}


async def test_documents_are_counted_without_keeping_passages(
    held: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await held.hold(*parts_of("a", *map(str, range(3000))))
    alive: weakref.WeakSet[object] = weakref.WeakSet()
    most = 0

    class Part:
        """A StoredPart that can be watched."""

        def __init__(self, document: str, source: str, digest: str, parts: int) -> None:
            nonlocal most
            self.document, self.source, self.digest, self.parts = document, source, digest, parts
            alive.add(self)
            most = max(most, len(alive))

    for kind in ("lancedb", "qdrant", "memory"):
        monkeypatch.setattr(f"router.indexing.{kind}_index.StoredPart", Part)
    assert len(await held.index.documents()) == 1
    assert 0 < most < 10
    assert not alive


async def test_removing_what_isnt_there_is_harmless(held: Backend) -> None:
    await held.hold(passage("b", "four"))
    await held.index.remove([digest_of("z")])
    await held.index.remove([digest_of("b")])
    assert dict(await held.index.documents()) == {}
