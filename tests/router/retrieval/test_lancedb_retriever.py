"""What is LanceDB's own: an index that comes, changes and goes while the service runs."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import lancedb
import numpy as np
import pytest
from numpy.typing import NDArray

from policies.encoders import Encoder
from router.indexing.lancedb_index import LanceDbIndex
from router.retrieval.errors import IndexMissingError, RetrievalError
from router.retrieval.lancedb_errors import retrieval_error
from router.retrieval.lancedb_retriever import LanceDbRetriever
from router.retrieval.retriever import Search
from tests.router.retrieval.backends import Backend, backend, passage


class OtherEncoder:
    """The same vectors under another name."""

    version = "static:other:1"
    quick = True

    def __init__(self, encoder: Encoder) -> None:
        self.dimension = encoder.dimension
        self.encode = encoder.encode


@pytest.fixture
async def opened(encoder: Encoder, tmp_path: Path) -> AsyncIterator[Backend]:
    async with backend("lancedb", encoder, tmp_path) as held:
        yield held


async def found_in_time(opened: Backend, title: str) -> None:
    """Another process's writes are seen within a second or so."""
    async with asyncio.timeout(30):
        while title not in await opened.titles("cat"):
            await asyncio.sleep(0.02)


async def test_an_index_made_later_is_seen(opened: Backend) -> None:
    with pytest.raises(IndexMissingError):
        await opened.search("cat")
    await opened.hold(passage("late", "a cat"))
    assert await opened.titles("cat") == ["late"]


async def test_later_writes_are_seen(opened: Backend) -> None:
    await opened.hold(passage("first", "a cat"))
    assert await opened.titles("cat") == ["first"]
    await opened.hold(passage("second", "another cat"))
    await found_in_time(opened, "second")


async def test_an_index_that_goes_and_comes_back_is_seen(
    opened: Backend, encoder: Encoder, tmp_path: Path
) -> None:
    await opened.hold(passage("before", "a cat"))
    await opened.search("cat")
    shutil.rmtree(tmp_path / "index")
    with pytest.raises(RetrievalError):  # noqa: PT012 - until the removal is noticed
        async with asyncio.timeout(30):
            while True:
                await opened.search("cat")
                await asyncio.sleep(0.02)
    index = LanceDbIndex(str(tmp_path / "index"), "passages", encoder)
    await Backend(opened.retriever, index, encoder).hold(passage("after", "a cat"))
    await found_in_time(opened, "after")
    await index.close()


async def test_a_search_outlives_another_ones_failure(
    opened: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that fails lets go of the table that others are just asking for its schema."""
    await opened.hold(passage("held", "a cat"))
    await opened.search("cat")
    retriever = opened.retriever
    assert isinstance(retriever, LanceDbRetriever)
    inner = retriever._table
    assert inner is not None
    schema = inner.schema

    async def interrupted_schema() -> object:
        retriever._table = None
        return await schema()

    monkeypatch.setattr(inner, "schema", interrupted_schema)
    assert await opened.titles("cat") == ["held"]


async def test_a_broken_index_is_told_in_plain_words(
    opened: Backend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await opened.hold(passage("held", "a cat"))
    for file in (tmp_path / "index/passages.lance/data").iterdir():
        file.unlink()
    caplog.set_level("DEBUG", "router.retrieval.lancedb_errors")
    with pytest.raises(RetrievalError, match="can't be searched: a part of it is missing$"):
        await opened.search("cat")
    assert "lance" in caplog.text.lower()


def test_a_librarys_words_dont_reveal_the_query(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "router.retrieval.lancedb_errors")
    error = ValueError("IO { source: odd query my secret, at /root/.cargo/x.rs:1 }")
    told = retrieval_error(error, "it can't be searched", query="my secret")
    assert str(told) == "it can't be searched: it is damaged, or not in LanceDB's format"
    assert "/root/.cargo/x.rs" in caplog.text
    assert "my secret" not in caplog.text


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("LanceError(IO): Generic S3 error: Failed to resolve region for bucket 'x'", "reached"),
        ("Failed to connect to namespace: IO { Io { NotADirectory, Not a directory } }", "path"),
        ("Unable to created lance dataset at /proc/x: No such file or directory", "can't be made"),
        ("Os { code: 13, kind: PermissionDenied, message: Permission denied }", "denied"),
    ],
)
def test_a_cause_is_told_in_a_few_words(said: str, cause: str) -> None:
    assert cause in str(retrieval_error(ValueError(said), "it fails"))


async def test_a_repeated_word_counts_once(opened: Backend) -> None:
    await opened.hold(passage("cats", "a cat"), passage("dogs", "a dog, don't pay 3.14"))
    [once] = await opened.search("cat", strategy="text")
    [often] = await opened.search("cat Cat, cat,cat (CAT) " * 50, strategy="text")
    assert often.score == pytest.approx(once.score)
    for text in ("don't", "3.14"):
        assert await opened.titles(f"{text} {text}.", strategy="text") == ["dogs"]


async def test_another_encoders_index_is_refused(
    opened: Backend, encoder: Encoder, tmp_path: Path
) -> None:
    await opened.hold(passage("held", "a cat"))
    other, path = OtherEncoder(encoder), str(tmp_path / "index")
    retriever = LanceDbRetriever(path, "passages", other, timeout_s=30.0)
    index = LanceDbIndex(path, "passages", other)
    with pytest.raises(IndexMissingError, match=r"static:other:1.*index the documents again"):
        await retriever.search(Search(text="cat"))
    with pytest.raises(IndexMissingError, match="static:other:1"):
        await index.documents()
    await retriever.close()
    await index.close()


async def test_a_large_table_gets_an_approximate_index_with_true_scores(
    opened: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.indexing.lancedb_index._ANN_FROM_ROWS", 300)
    rows = [passage(f"row {n}", f"a cat number {n} likes place {n % 17}") for n in range(320)]
    await opened.hold(*rows, passage("odd", "interest rates fell on the bond market"))
    database = await lancedb.connect_async(str(tmp_path / "index"))
    table = await database.open_table("passages")
    assert "vector" in {column for index in await table.list_indices() for column in index.columns}
    [found] = await opened.search("bond market interest rates", strategy="vector", k=1)
    [query, row] = opened.encoder.encode(["bond market interest rates", f"odd\n{found.text}"])
    assert found.title == "odd"
    assert found.score == pytest.approx(float(query @ row), abs=1e-4)


async def test_words_that_are_stop_words_elsewhere_are_found(opened: Backend) -> None:
    """ "Dog" is a stop word in Danish, "cat" in Romanian."""
    await opened.hold(passage("a", "the dog"), passage("b", "the cat"))
    assert await opened.titles("dog", strategy="text") == ["a"]
    assert await opened.titles("cat", strategy="text") == ["b"]


async def test_a_slow_encoder_runs_into_the_time_limit(encoder: Encoder, tmp_path: Path) -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    class SlowEncoder(OtherEncoder):
        version = "onnx:slow:1"
        quick = False

        def __init__(self, inner: Encoder) -> None:
            super().__init__(inner)
            self.encode = self._wait

        def _wait(self, _: object) -> NDArray[np.float32]:
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
            return np.zeros((1, self.dimension), dtype=np.float32)

    retriever = LanceDbRetriever(str(tmp_path), "passages", SlowEncoder(encoder), timeout_s=0.05)
    with pytest.raises(RetrievalError, match=r"didn't answer within 0\.05 s"):
        await retriever.search(Search(text="cat"))
    release.set()
    await retriever.close()
