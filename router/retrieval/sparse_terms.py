"""A text's words as a sparse vector, for a server that weighs them by inverse document frequency.

BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009) is a
sum over the query's words of IDF x tf (k1 + 1) / (tf + k1 (1 - b + b length / mean length)). The
passage's vector holds the second factor, the query's holds ones, and Qdrant multiplies by the IDF
(`Modifier.IDF`). It is what fastembed's `Qdrant/bm25` does, without its stemmer, whose files it
downloads. The mean length is a constant, as there: it isn't known while passages arrive.
"""

import zlib
from collections import Counter

from router.retrieval.searchable import terms

_K1 = 1.2
_B = 0.75
_MEAN_LENGTH = 200.0


def passage_terms(text: str) -> tuple[list[int], list[float]]:
    """The passage's word ids and their weights."""
    words = terms(text)
    norm = _K1 * (1.0 - _B + _B * len(words) / _MEAN_LENGTH)
    counts = Counter(_term_id(word) for word in words)
    return list(counts), [tf * (_K1 + 1.0) / (tf + norm) for tf in counts.values()]


def query_terms(text: str) -> tuple[list[int], list[float]]:
    """The query's word ids, each once, with weight 1."""
    ids = list(dict.fromkeys(_term_id(word) for word in terms(text)))
    return ids, [1.0] * len(ids)


def _term_id(word: str) -> int:
    """32 bits, the same on every machine; of 100,000 words about one shares its id with another."""
    return zlib.crc32(word.encode("utf-8", "replace"))
