"""Qdrant: a server or a cluster, or its local mode in one process."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from policies.encoders import Encoder
from router.retrieval.errors import IndexMissingError, RetrievalError
from router.retrieval.guards import answer_within, require_encoder
from router.retrieval.query_vector import query_vector
from router.retrieval.rank_fusion import pool_size
from router.retrieval.retriever import Passage, Search
from router.retrieval.sparse_terms import query_terms

# The collection's metadata names the encoder under this key.
ENCODER_KEY = "rag_router.encoder"
DENSE, TEXT = "dense", "text"
# The encoder of a collection is asked for again after this long: it may have been made anew.
_RECHECK_S = 10.0

# The local mode raises plain ValueError and RuntimeError, the server's client ApiException.
QDRANT_ERRORS = (ApiException, ValueError, RuntimeError, OSError)


class QdrantRetriever:
    """Searches the collection that `rag-router index` writes.

    `connect` is called by the first search, so that starting needs no server.
    """

    def __init__(
        self,
        connect: Callable[[], AsyncQdrantClient],
        collection: str,
        encoder: Encoder,
        *,
        where: str,
        timeout_s: float,
    ) -> None:
        self._connect, self._collection = connect, collection
        self._encoder, self._timeout_s = encoder, timeout_s
        self._where = f"the collection {collection} at {where}"
        self._client: AsyncQdrantClient | None = None
        self._checking = asyncio.Lock()
        self._check_again = 0.0

    async def search(self, search: Search) -> Sequence[Passage]:
        """At most `search.k` passages, best first.

        Raises:
            IndexMissingError: there is no such collection, or one of another encoder.
            RetrievalError: the server can't be asked, or not in time.
        """
        async with answer_within(self._timeout_s, self._where):
            vector = await query_vector(self._encoder, search.text)
            try:
                client = await self._sound_client()
                return await self._search(client, search, vector)
            except QDRANT_ERRORS as error:
                self._check_again = 0.0
                raise retrieval_error(error, self._where) from error

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _sound_client(self) -> AsyncQdrantClient:
        async with self._checking:
            client = self._client
            if client is None:
                client = self._client = self._connect()
            if time.monotonic() >= self._check_again:
                info = await client.get_collection(self._collection)
                made_with = (info.config.metadata or {}).get(ENCODER_KEY)
                require_encoder(made_with, self._encoder.version, self._where)
                self._check_again = time.monotonic() + _RECHECK_S
        return client

    async def _search(
        self, client: AsyncQdrantClient, search: Search, vector: NDArray[np.float32] | None
    ) -> list[Passage]:
        query = _query(search, vector)
        if query is None:
            return []
        answer = await client.query_points(
            self._collection,
            limit=search.k,
            with_payload=True,
            with_vectors=[DENSE] if search.strategy == "hybrid" else False,
            **query,
        )
        return [_passage(point, vector, search) for point in answer.points]


def retrieval_error(error: Exception, where: str) -> RetrievalError:
    """What the client's error means; its text may quote the request, so it isn't passed on."""
    missing = isinstance(error, UnexpectedResponse) and error.status_code == 404
    if missing or (isinstance(error, ValueError) and "not found" in str(error)):
        return IndexMissingError(f"{where} isn't there: run rag-router index")
    if isinstance(error, UnexpectedResponse):
        return RetrievalError(f"{where} answered with status {error.status_code}")
    if isinstance(error, ApiException):
        return RetrievalError(f"{where} can't be reached")
    return RetrievalError(f"{where} can't be searched ({type(error).__name__})")


def _query(search: Search, vector: NDArray[np.float32] | None) -> dict[str, Any] | None:
    """The arguments that say what to look for; None where the query has no word to look for."""
    legs: list[dict[str, Any]] = []
    if search.strategy != "text" and vector is not None:
        legs.append({"query": vector.tolist(), "using": DENSE})
    ids, weights = query_terms(search.text)
    if search.strategy != "vector" and ids:
        words = models.SparseVector(indices=ids, values=weights)
        legs.append({"query": words, "using": TEXT})
    condition = _condition(search)
    if len(legs) < 2:
        return {**legs[0], "query_filter": condition} if legs else None
    size = pool_size(search.k)
    return {
        "prefetch": [models.Prefetch(**leg, filter=condition, limit=size) for leg in legs],
        "query": models.FusionQuery(fusion=models.Fusion.RRF),
    }


def _condition(search: Search) -> models.Filter:
    must: list[models.Condition] = []
    if search.tenant is not None:
        own_and_public = models.MatchAny(any=["", search.tenant])
        must.append(models.FieldCondition(key="tenant", match=own_and_public))
    if search.updated_since is not None:
        since = models.DatetimeRange(gte=search.updated_since)
        must.append(models.FieldCondition(key="updated_at", range=since))
    return models.Filter(must=must)


def _passage(
    point: models.ScoredPoint, vector: NDArray[np.float32] | None, search: Search
) -> Passage:
    payload = point.payload or {}
    moment = payload.get("updated_at")
    return Passage(
        id=uuid.UUID(str(point.id)).hex,
        text=payload["text"],
        score=_score(point, vector, search),
        title=payload["title"],
        uri=payload["uri"],
        updated_at=None if moment is None else datetime.fromisoformat(moment),
        tenant=payload["tenant"],
    )


def _score(point: models.ScoredPoint, vector: NDArray[np.float32] | None, search: Search) -> float:
    """The cosine similarity: a fused point's own score is of its ranks."""
    if search.strategy != "hybrid":
        return float(point.score)
    stored = point.vector.get(DENSE) if isinstance(point.vector, dict) else None
    if vector is None or stored is None:
        return 0.0
    return float(vector @ np.array(stored, dtype=np.float32))
