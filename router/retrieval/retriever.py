"""The port to a body of documents: a search in, the best passages out."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from policies.settings import SearchStrategy


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a document, as a search found it.

    `id` is stable: the same text at the same place keeps it. `score` is the cosine similarity of
    query and passage where vectors took part (strategies `vector` and `hybrid`), BM25 or the
    service's own score otherwise; passages come best first, which a fused ranking needn't show in
    the scores. `updated_at` is aware, UTC. An empty `tenant` means that the passage is everybody's.
    """

    id: str
    text: str
    score: float
    title: str = ""
    uri: str = ""
    updated_at: datetime | None = None
    tenant: str = ""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for.

    With `tenant` None every passage may be found; otherwise the tenant's own and those of no
    tenant. `updated_since` leaves out older passages and those whose age nobody knows.
    """

    text: str
    k: int = 5
    strategy: SearchStrategy = "hybrid"
    tenant: str | None = ""
    updated_since: datetime | None = None


class Retriever(Protocol):
    """Finds passages. Safe to use from one event loop by many tasks at once."""

    async def search(self, search: Search) -> Sequence[Passage]:
        """At most `search.k` passages, best first; none where nothing fits.

        Raises:
            RetrievalError: the documents can't be searched; the message names no secret.
        """

    async def close(self) -> None:
        """Let go of connections and files."""
