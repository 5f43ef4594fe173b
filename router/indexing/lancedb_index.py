"""A LanceDB table of passages, on local disk or object storage."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import FTS, IvfPq
from numpy.typing import NDArray

from policies.encoders import Encoder
from router.indexing.passage_index import HeldDocument, Inventory, NewPassage, StoredPart
from router.retrieval.guards import require_encoder
from router.retrieval.lancedb_errors import LANCEDB_ERRORS, retrieval_error
from router.retrieval.lancedb_retriever import ENCODER_KEY, SEARCHED

# Below this a flat search is exact and fast (100,000 vectors of 256 floats are 100 MB, read in tens
# of milliseconds), and an approximate index would lose recall, most under a tenant's filter.
_ANN_FROM_ROWS = 100_000
# Versions that no search can still be reading are deleted after this long.
_KEEP_VERSIONS = timedelta(hours=1)
# A row of a batch is about 1 kB of Python objects, and LanceDB's batches may be large.
_ROWS_AT_ONCE = 1000
_TOLD = ["document", "source", "digest", "parts"]
# ICU finds words in Chinese, Japanese and Thai too, which leave no spaces. LanceDB would then leave
# out the stop words of all languages, and so "cat" (Romanian) and "dog" (Danish) as well.
_WORDS = FTS(base_tokenizer="icu/split", remove_stop_words=False)


class LanceDbIndex:
    """Each `replace` and `remove` is one transaction: a kill leaves every document whole."""

    def __init__(self, path: str, table: str, encoder: Encoder) -> None:
        self._path, self._name, self._encoder = path, table, encoder
        self._where = f"the index at {path}"
        self._table: lancedb.AsyncTable | None = None

    async def documents(self) -> Mapping[str, HeldDocument]:
        """What the table holds; makes it where there is none."""
        async with self._errors():
            table = await self._open()
            inventory = Inventory()
            async for batch in await table.query().select(_TOLD).to_batches():
                inventory.count(_parts(batch))
            return inventory.documents()

    async def replace(self, passages: Sequence[NewPassage], vectors: NDArray[np.float32]) -> None:
        """Write documents whole, in place of what was held of them."""
        async with self._errors():
            table = await self._open()
            merge = (
                table.merge_insert("id")
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .when_not_matched_by_source_delete(_any_of({new.document for new in passages}))
            )
            await merge.execute(_arrow(passages, vectors))

    async def remove(self, documents: Collection[str]) -> None:
        """Delete documents."""
        async with self._errors():
            await (await self._open()).delete(_any_of(documents))

    async def finish(self) -> None:
        """Compact the files, and add what is new to the indexes of words and vectors."""
        async with self._errors():
            table = await self._open()
            indexed = {column for index in await table.list_indices() for column in index.columns}
            if "vector" not in indexed and await table.count_rows() >= _ANN_FROM_ROWS:
                await table.create_index("vector", config=IvfPq(distance_type="cosine"))
            await table.optimize(cleanup_older_than=_KEEP_VERSIONS)

    async def close(self) -> None:
        """Let go of the table."""
        if self._table is not None:
            self._table.close()
            self._table = None

    async def _open(self) -> lancedb.AsyncTable:
        if self._table is None:
            database = await lancedb.connect_async(self._path)
            try:
                table = await database.open_table(self._name)
            except ValueError:  # how LanceDB says that there is none
                table = await database.create_table(self._name, schema=_schema(self._encoder))
            made_with = ((await table.schema()).metadata or {}).get(ENCODER_KEY)
            name = made_with.decode() if made_with else None
            require_encoder(name, self._encoder.version, self._where)
            await _index_words(table)
            self._table = table
        return self._table

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        try:
            yield
        except LANCEDB_ERRORS as error:
            raise retrieval_error(error, f"{self._where} can't be read or written") from error


def _parts(batch: pa.RecordBatch) -> Iterator[StoredPart]:
    for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
        rows = batch.slice(start, _ROWS_AT_ONCE).to_pylist()
        yield from (StoredPart(**row) for row in rows)


async def _index_words(table: lancedb.AsyncTable) -> None:
    indexed = {column for index in await table.list_indices() for column in index.columns}
    for column in SEARCHED:
        if column not in indexed:
            await table.create_index(column, config=_WORDS)


def _any_of(documents: Collection[str]) -> str:
    """A condition in SQL. Ids of documents are our own digests; anything else is refused."""
    if not all(len(name) == 32 and name.isalnum() and name.isascii() for name in documents):
        raise ValueError("a document's id has 32 hexadecimal digits")
    quoted = ", ".join(f"'{name}'" for name in sorted(documents))
    return f"document IN ({quoted})"


def _columns() -> dict[str, pa.DataType]:
    """What a row holds beside its vector: the fields of NewPassage."""
    kinds = dict.fromkeys(NewPassage.__struct_fields__, pa.string())
    return {**kinds, "parts": pa.int32(), "updated_at": pa.timestamp("us", tz="UTC")}


def _schema(encoder: Encoder) -> pa.Schema:
    fields = [pa.field(name, kind) for name, kind in _columns().items()]
    vector = pa.field("vector", pa.list_(pa.float32(), encoder.dimension))
    return pa.schema([*fields, vector], metadata={ENCODER_KEY: encoder.version.encode()})


def _arrow(passages: Sequence[NewPassage], vectors: NDArray[np.float32]) -> pa.Table:
    columns = {
        name: pa.array([getattr(new, name) for new in passages], type=kind)
        for name, kind in _columns().items()
    }
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return pa.table(columns)
