"""A Qdrant collection of passages."""

import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import numpy as np
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient, models

from policies.encoders import Encoder
from router.indexing.passage_index import HeldDocument, Inventory, NewPassage, StoredPart
from router.retrieval.guards import require_encoder
from router.retrieval.qdrant_retriever import (
    DENSE,
    ENCODER_KEY,
    QDRANT_ERRORS,
    TEXT,
    retrieval_error,
)
from router.retrieval.searchable import searchable_text
from router.retrieval.sparse_terms import passage_terms

# A server takes 32 MiB a request; 256 points of 1,200 characters are about 2 MiB of JSON.
_POINTS_A_REQUEST = 256
_SCROLL = 1000
_TOLD = ["document", "source", "digest", "parts"]
_FILTERED = {
    "tenant": models.PayloadSchemaType.KEYWORD,
    "document": models.PayloadSchemaType.KEYWORD,
    "updated_at": models.PayloadSchemaType.DATETIME,
}


class QdrantIndex:
    """A document is written new passages first, old ones deleted last, so that searches find it
    throughout. A kill in between leaves a document that counts its parts wrong, and the next run
    writes it again."""

    def __init__(
        self,
        connect: Callable[[], AsyncQdrantClient],
        collection: str,
        encoder: Encoder,
        *,
        where: str,
    ) -> None:
        self._connect, self._collection, self._encoder = connect, collection, encoder
        self._where = f"the collection {collection} at {where}"
        self._client: AsyncQdrantClient | None = None

    async def documents(self) -> Mapping[str, HeldDocument]:
        """What the collection holds; makes it where there is none."""
        async with self._errors():
            client = await self._open()
            inventory = Inventory()
            offset: models.ExtendedPointId | None = None
            while True:
                points, offset = await client.scroll(
                    self._collection, limit=_SCROLL, offset=offset, with_payload=_TOLD
                )
                inventory.count(StoredPart(**(point.payload or {})) for point in points)
                if offset is None:
                    return inventory.documents()

    async def replace(self, passages: Sequence[NewPassage], vectors: NDArray[np.float32]) -> None:
        """Write documents whole, in place of what was held of them."""
        async with self._errors():
            client = await self._open()
            points = list(map(_point, passages, vectors))
            for start in range(0, len(points), _POINTS_A_REQUEST):
                await client.upsert(self._collection, points[start : start + _POINTS_A_REQUEST])
            stale = models.Filter(
                must=[_documents({new.document for new in passages})],
                must_not=[models.HasIdCondition(has_id=[point.id for point in points])],
            )
            await client.delete(self._collection, models.FilterSelector(filter=stale))

    async def remove(self, documents: Collection[str]) -> None:
        """Delete documents."""
        async with self._errors():
            client = await self._open()
            gone = models.FilterSelector(filter=models.Filter(must=[_documents(documents)]))
            await client.delete(self._collection, gone)

    async def finish(self) -> None:
        """Nothing to do: the server indexes by itself."""

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _open(self) -> AsyncQdrantClient:
        if self._client is None:
            client = self._connect()
            if not await client.collection_exists(self._collection):
                await self._create(client)
            info = await client.get_collection(self._collection)
            made_with = (info.config.metadata or {}).get(ENCODER_KEY)
            require_encoder(made_with, self._encoder.version, self._where)
            self._client = client
        return self._client

    async def _create(self, client: AsyncQdrantClient) -> None:
        size = self._encoder.dimension
        idf = models.SparseVectorParams(modifier=models.Modifier.IDF)
        await client.create_collection(
            self._collection,
            vectors_config={DENSE: models.VectorParams(size=size, distance=models.Distance.COSINE)},
            sparse_vectors_config={TEXT: idf},
            metadata={ENCODER_KEY: self._encoder.version},
        )
        # The local mode warns that it makes no index of payloads; it needs none.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            for field, kind in _FILTERED.items():
                await client.create_payload_index(self._collection, field, kind)

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        try:
            yield
        except QDRANT_ERRORS as error:
            raise retrieval_error(error, self._where) from error


def _documents(documents: Collection[str]) -> models.FieldCondition:
    return models.FieldCondition(key="document", match=models.MatchAny(any=sorted(documents)))


def _point(new: NewPassage, vector: NDArray[np.float32]) -> models.PointStruct:
    ids, weights = passage_terms(searchable_text(new.title, new.text))
    return models.PointStruct(
        id=str(uuid.UUID(hex=new.id)),
        vector={
            DENSE: vector.tolist(),
            TEXT: models.SparseVector(indices=ids, values=weights),
        },
        payload={
            "document": new.document,
            "source": new.source,
            "digest": new.digest,
            "parts": new.parts,
            "text": new.text,
            "title": new.title,
            "uri": new.uri,
            "tenant": new.tenant,
            "updated_at": None if new.updated_at is None else new.updated_at.isoformat(),
        },
    )
