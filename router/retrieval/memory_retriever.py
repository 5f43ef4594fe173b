"""The in-memory twin: what a retriever does, in a few lines of numpy."""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from policies.encoders import Encoder
from router.retrieval.query_vector import query_vector
from router.retrieval.rank_fusion import fuse_ranks, pool_size
from router.retrieval.retriever import Passage, Search
from router.retrieval.searchable import searchable_text, terms


class MemoryRetriever:
    """Searches passages that it was given, by cosine similarity and by shared words."""

    def __init__(self, encoder: Encoder, passages: Iterable[Passage] = ()) -> None:
        self._encoder = encoder
        self._held: dict[str, tuple[Passage, NDArray[np.float32], frozenset[str]]] = {}
        self.add(passages)

    def add(self, passages: Iterable[Passage]) -> None:
        """Hold these too; one with a known id replaces the held one."""
        for passage in passages:
            text = searchable_text(passage.title, passage.text)
            [vector] = self._encoder.encode([text])
            self._held[passage.id] = (passage, vector, frozenset(terms(text)))

    def remove(self, ids: Iterable[str]) -> None:
        """Forget these."""
        for name in ids:
            self._held.pop(name, None)

    async def search(self, search: Search) -> Sequence[Passage]:
        """At most `search.k` passages, best first."""
        vector = await query_vector(self._encoder, search.text)
        near = self._by_vector(search, vector) if search.strategy != "text" else {}
        alike = self._by_words(search) if search.strategy != "vector" else {}
        pool = pool_size(search.k)
        best = fuse_ranks([list(near)[:pool], list(alike)[:pool]], search.k)
        scores = alike if search.strategy == "text" else {**self._cosines(alike, vector), **near}
        return [msgspec.structs.replace(self._held[name][0], score=scores[name]) for name in best]

    async def close(self) -> None:
        """Nothing is held open."""

    def _by_vector(self, search: Search, vector: NDArray[np.float32] | None) -> dict[str, float]:
        """Each eligible passage's cosine similarity, best first; none for a query without words."""
        eligible = [name for name, (passage, _, _) in self._held.items() if _fits(passage, search)]
        return _best_first(self._cosines(eligible, vector)) if vector is not None else {}

    def _by_words(self, search: Search) -> dict[str, float]:
        """The eligible passages that share a word with the query, most shared first."""
        wanted = frozenset(terms(search.text))
        shared = {
            name: float(len(wanted & words))
            for name, (passage, _, words) in self._held.items()
            if _fits(passage, search)
        }
        return _best_first({name: count for name, count in shared.items() if count})

    def _cosines(
        self, names: Iterable[str], vector: NDArray[np.float32] | None
    ) -> dict[str, float]:
        if vector is None:
            return dict.fromkeys(names, 0.0)
        return {name: float(vector @ self._held[name][1]) for name in names}


def _best_first(scores: dict[str, float]) -> dict[str, float]:
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def _fits(passage: Passage, search: Search) -> bool:
    if search.tenant is not None and passage.tenant not in ("", search.tenant):
        return False
    if search.updated_since is None:
        return True
    return passage.updated_at is not None and passage.updated_at >= search.updated_since
