"""The in-memory twin of an index."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from router.indexing.passage_index import HeldDocument, Inventory, NewPassage, StoredPart
from router.retrieval.memory_retriever import MemoryRetriever
from router.retrieval.retriever import Passage


class MemoryIndex:
    """Writes to a MemoryRetriever, which does its own encoding."""

    def __init__(self, retriever: MemoryRetriever) -> None:
        self._retriever = retriever
        self.passages: dict[str, NewPassage] = {}

    async def documents(self) -> Mapping[str, HeldDocument]:
        """What was written, by document id."""
        inventory = Inventory()
        inventory.count(
            StoredPart(new.document, new.source, new.digest, new.parts)
            for new in self.passages.values()
        )
        return inventory.documents()

    async def replace(
        self,
        passages: Sequence[NewPassage],
        vectors: NDArray[np.float32],  # noqa: ARG002 - the retriever has them already
    ) -> None:
        """Hold these documents' passages and no others of theirs."""
        await self.remove({new.document for new in passages})
        self.passages |= {new.id: new for new in passages}
        self._retriever.add(_passage(new) for new in passages)

    async def remove(self, documents: Collection[str]) -> None:
        """Forget documents."""
        gone = [new.id for new in self.passages.values() if new.document in documents]
        self._retriever.remove(gone)
        for name in gone:
            del self.passages[name]

    async def finish(self) -> None:
        """Nothing to bring up to date."""

    async def close(self) -> None:
        """Nothing is held open."""


def _passage(new: NewPassage) -> Passage:
    return Passage(
        id=new.id,
        text=new.text,
        score=0.0,
        title=new.title,
        uri=new.uri,
        updated_at=new.updated_at,
        tenant=new.tenant,
    )
