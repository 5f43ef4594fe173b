"""Which queries a policy was trained on, in a few bytes each: a Bloom filter of their hashes.

Bloom (1970), "Space/time trade-offs in hash coding with allowable errors". A query that was trained
on is always found; one in about fifty that wasn't is found as well. Nothing can be read back.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Digests = NDArray[np.uint32]

# In a manifest's `training`.
QUERY_FILTER = "query_filter"
# With 8 bits a query, 5 probes are near the best there are: 2.2 % are found by chance.
_BITS_PER_QUERY = 8
_PROBES = 5
_LEAST_BITS = 64


class QueryFilter:
    """A filter that is filled part by part."""

    def __init__(self, queries: int) -> None:
        """Make room for about so many different queries."""
        self._bits = np.zeros(max(_LEAST_BITS, _BITS_PER_QUERY * queries), dtype=np.bool_)

    def add(self, digests: Digests) -> None:
        """Some queries', as `query_digests` gives them."""
        self._bits[_probes(digests, len(self._bits)).ravel()] = True

    def text(self) -> str:
        """The filter, to be stored."""
        return b64encode(np.packbits(self._bits).tobytes()).decode()


def query_filter(hashes: Iterable[str]) -> str:
    """The filter of these query hashes, as text; rows without a hash are left out."""
    digests = query_digests(hashes)
    found = QueryFilter(len(digests))
    found.add(digests)
    return found.text()


def query_digests(hashes: Iterable[str]) -> Digests:
    """(q, 2) what a filter needs of the different ones among these query hashes."""
    return _digests(sorted({value for value in hashes if value}))


def trained_on(encoded: str, hashes: Sequence[str]) -> NDArray[np.bool_]:
    """(n,) whether a filter holds each hash; never for a row without one."""
    bits = np.unpackbits(np.frombuffer(b64decode(encoded), dtype=np.uint8)).astype(np.bool_)
    distinct, rows = np.unique(np.array(hashes, dtype=str), return_inverse=True)
    if not len(bits) or not len(distinct):
        return np.zeros(len(hashes), dtype=np.bool_)
    found = bits[_probes(_digests(distinct.tolist()), len(bits))].all(axis=1) & (distinct != "")
    return np.asarray(found[rows])


def _digests(hashes: Sequence[str]) -> Digests:
    digests = b"".join(blake2b(value.encode(), digest_size=8).digest() for value in hashes)
    return np.frombuffer(digests, dtype="<u4").reshape(-1, 2)


def _probes(digests: Digests, size: int) -> NDArray[np.int64]:
    """(n, _PROBES) the bits of each query: double hashing, Kirsch and Mitzenmacher (2006)."""
    halves = digests.astype(np.int64)
    steps = halves[:, 1] | 1
    return np.asarray((halves[:, :1] + steps[:, None] * np.arange(_PROBES)) % size)
