"""The port to an index: what it holds, and writing what changed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray


class NewPassage(msgspec.Struct, frozen=True, kw_only=True):
    """A passage to be written.

    `id`, `document` and `digest` have 32 hexadecimal digits. `source` is the location of the file
    that the document stands in, `digest` changes with the document's content, and `parts` is how
    many passages the document has, so that a document that was written in part can be told.
    """

    id: str
    document: str
    source: str
    digest: str
    parts: int
    text: str
    title: str
    uri: str
    updated_at: datetime | None
    tenant: str


class HeldDocument(msgspec.Struct, frozen=True):
    """A document of the index. An empty digest: it was written in part, or twice."""

    source: str
    digest: str


class PassageIndex(Protocol):
    """Where passages are written. One process may write at a time; any may search meanwhile."""

    async def documents(self) -> Mapping[str, HeldDocument]:
        """What the index holds, by document id; makes the index where there is none.

        Raises:
            IndexMissingError: it was made with another encoder.
            RetrievalError: it can't be read.
        """

    async def replace(self, passages: Sequence[NewPassage], vectors: NDArray[np.float32]) -> None:
        """Write documents whole, in place of what was held of them.

        vectors: (len(passages), dimension), of norm 1 or 0. Raises RetrievalError.
        """

    async def remove(self, documents: Collection[str]) -> None:
        """Delete documents. Raises RetrievalError."""

    async def finish(self) -> None:
        """Bring what speeds up searches up to date. Raises RetrievalError."""

    async def close(self) -> None:
        """Let go of connections and files."""


class StoredPart(msgspec.Struct, frozen=True):
    """What an index says of one of its passages."""

    document: str
    source: str
    digest: str
    parts: int


class Inventory:
    """Adds an index's passages up to its documents, batch by batch: it keeps no passage."""

    def __init__(self) -> None:
        self._held: dict[str, HeldDocument] = {}
        self._missing: dict[str, int] = {}

    def count(self, parts: Iterable[StoredPart]) -> None:
        """Take in some passages, in any order."""
        for part in parts:
            earlier = self._held.get(part.document)
            if earlier is None:
                self._held[part.document] = HeldDocument(part.source, part.digest)
                self._missing[part.document] = part.parts
            elif earlier.digest != part.digest:
                self._held[part.document] = HeldDocument(earlier.source, "")
            self._missing[part.document] -= 1

    def documents(self) -> dict[str, HeldDocument]:
        """The documents whose passages these were."""
        for document, count in self._missing.items():
            if count:
                self._held[document] = HeldDocument(self._held[document].source, "")
        return self._held
