"""LanceDB: the embedded default, a table of passages on local disk or object storage."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
from lancedb.expr import Expr, col, lit
from lancedb.query import MultiMatchQuery
from numpy.typing import NDArray

from policies.encoders import Encoder
from policies.encoders.text import well_formed
from router.retrieval.errors import IndexMissingError
from router.retrieval.guards import answer_within, require_encoder
from router.retrieval.lancedb_errors import LANCEDB_ERRORS, retrieval_error
from router.retrieval.query_vector import query_vector
from router.retrieval.rank_fusion import fuse_ranks, pool_size
from router.retrieval.retriever import Passage, Search

# The table's schema metadata names the encoder under this key.
ENCODER_KEY = b"rag_router.encoder"
SEARCHED = ["title", "text"]
_COLUMNS = ["id", "text", "title", "uri", "updated_at", "tenant"]

# What another process writes is seen after this long; looking costs one listing of a directory.
_CONSISTENCY = timedelta(seconds=1)
# Candidates that an approximate index gives are measured again on the full vectors, so that scores
# are true cosines and recall is higher; a table without such an index isn't touched by it.
_REFINE_FACTOR = 10

# What always ends a word. The rest, such as "don't" and "3.14", is left to LanceDB's tokenizer.
_BREAKS = re.compile(r"[\s!\"#$%&()*+/<=>?@\[\\\]^`{|}~-]+|[,;](?!\d)")

Row = Mapping[str, Any]


class LanceDbRetriever:
    """Searches the table that `rag-router index` writes.

    It is opened by the first search, and an index that is made, changed or made anew while the
    service runs is seen by the searches after it.
    """

    def __init__(self, path: str, table: str, encoder: Encoder, *, timeout_s: float) -> None:
        self._path, self._name, self._encoder, self._timeout_s = path, table, encoder, timeout_s
        self._where = f"the index at {path}"
        self._opening = asyncio.Lock()
        self._table: lancedb.AsyncTable | None = None

    async def search(self, search: Search) -> Sequence[Passage]:
        """At most `search.k` passages, best first.

        Raises:
            IndexMissingError: nothing is indexed there, or with another encoder.
            RetrievalError: the index can't be read, or not in time.
        """
        async with answer_within(self._timeout_s, self._where):
            vector = await query_vector(self._encoder, search.text)
            try:
                table = await self._sound_table()
                return await _search(table, search, vector)
            except LANCEDB_ERRORS as error:
                self._table = None
                what = f"{self._where} can't be searched"
                raise retrieval_error(error, what, query=search.text) from error

    async def close(self) -> None:
        """Let go of the table."""
        if self._table is not None:
            self._table.close()
            self._table = None

    async def _sound_table(self) -> lancedb.AsyncTable:
        # A local name: while this search waits, another one that fails lets go of self._table.
        async with self._opening:
            table = self._table
            if table is None:
                table = self._table = await self._open()
        # At every search, 0.1 ms: the index may have been made anew since, with another encoder.
        metadata = (await table.schema()).metadata or {}
        made_with = metadata.get(ENCODER_KEY)
        name = made_with.decode() if made_with else None
        require_encoder(name, self._encoder.version, self._where)
        return table

    async def _open(self) -> lancedb.AsyncTable:
        missing = f"nothing is indexed at {self._path} (table {self._name}): run rag-router index"
        # Connecting would make the directory.
        if "://" not in self._path and not await asyncio.to_thread(Path(self._path).is_dir):
            raise IndexMissingError(missing)
        database = await lancedb.connect_async(self._path, read_consistency_interval=_CONSISTENCY)
        try:
            return await database.open_table(self._name)
        except ValueError as error:
            raise IndexMissingError(missing) from error


async def _search(
    table: lancedb.AsyncTable, search: Search, vector: NDArray[np.float32] | None
) -> list[Passage]:
    size = search.k if search.strategy != "hybrid" else pool_size(search.k)
    near: list[Row] = []
    alike: list[Row] = []
    if search.strategy == "vector":
        near = await _by_vector(table, search, vector, size)
    elif search.strategy == "text":
        alike = await _by_text(table, search, size)
    else:
        near, alike = await asyncio.gather(
            _by_vector(table, search, vector, size), _by_text(table, search, size)
        )
    rows = {row["id"]: row for row in (*alike, *near)}
    best = fuse_ranks([[row["id"] for row in near], [row["id"] for row in alike]], search.k)
    return [_passage(rows[name], vector, search) for name in best]


async def _by_vector(
    table: lancedb.AsyncTable, search: Search, vector: NDArray[np.float32] | None, size: int
) -> list[Row]:
    if vector is None:
        return []
    query = table.query().nearest_to(vector).distance_type("cosine").refine_factor(_REFINE_FACTOR)
    condition = _condition(search)
    if condition is not None:
        query = query.where(condition)
    rows: list[Row] = await query.select([*_COLUMNS, "_distance"]).limit(size).to_list()
    return rows


async def _by_text(table: lancedb.AsyncTable, search: Search, size: int) -> list[Row]:
    # A match query is a bag of words: nothing in it is taken for an operator.
    words = _each_once(well_formed(search.text))
    query = table.query().nearest_to_text(MultiMatchQuery(words, SEARCHED))
    condition = _condition(search)
    if condition is not None:
        query = query.where(condition)
    vector = ["vector"] if search.strategy == "hybrid" else []
    rows: list[Row] = await query.select([*_COLUMNS, *vector, "_score"]).limit(size).to_list()
    return rows


def _each_once(text: str) -> str:
    """The query's words without repetitions, which LanceDB would look up and count again."""
    pieces = (piece.strip(".,:;'") for piece in _BREAKS.split(text))
    return " ".join({piece.casefold(): piece for piece in pieces if piece}.values())


def _condition(search: Search) -> Expr | None:
    """Whose passages, and since when; values are literals of an expression, never text of one."""
    parts: list[Expr] = []
    if search.tenant is not None:
        tenant = well_formed(search.tenant)
        parts.append((col("tenant") == lit("")) | (col("tenant") == lit(tenant)))
    if search.updated_since is not None:
        parts.append(col("updated_at") >= lit(search.updated_since.astimezone(UTC)))
    return parts[0] & parts[1] if len(parts) == 2 else next(iter(parts), None)


def _passage(row: Row, vector: NDArray[np.float32] | None, search: Search) -> Passage:
    return Passage(
        id=row["id"],
        text=row["text"],
        score=_score(row, vector, search),
        title=row["title"],
        uri=row["uri"],
        updated_at=_utc(row["updated_at"]),
        tenant=row["tenant"],
    )


def _score(row: Row, vector: NDArray[np.float32] | None, search: Search) -> float:
    if search.strategy == "text":
        return float(row["_score"])
    if "_distance" in row:
        return 1.0 - float(row["_distance"])
    if vector is None:
        return 0.0
    return float(vector @ np.array(row["vector"], dtype=np.float32))


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)
