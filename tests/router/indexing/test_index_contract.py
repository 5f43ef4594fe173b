"""What every index does, over its real store."""

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


async def test_removing_what_isnt_there_is_harmless(held: Backend) -> None:
    await held.hold(passage("b", "four"))
    await held.index.remove([digest_of("z")])
    await held.index.remove([digest_of("b")])
    assert dict(await held.index.documents()) == {}
