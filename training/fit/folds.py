"""Folds for cross-fitting: near-duplicate queries always share one."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.intp]
Digests = NDArray[np.uint64]

# Longer texts are hashed one by one first. The service's query hashes have 16 characters.
_MOST_CHARACTERS = 36
_FACTORS = np.random.default_rng(20_260_101).integers(
    0, 2**64, _MOST_CHARACTERS, dtype=np.uint64
) | np.uint64(1)


def group_numbers(hashes: Sequence[str]) -> Ints:
    """(n,) equal hashes get equal numbers from 0; a row without a hash is a group of its own."""
    numbers: dict[str, int] = {}
    names = [value or f"row {row}" for row, value in enumerate(hashes)]
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp)


def grouped_folds(groups: Ints, count: int, seed: int) -> Ints:
    """(n,) fold of each row, 0..count−1, such that a group is never split.

    Groups are dealt out in a seeded random order, so folds differ in size by what their groups do.
    """
    largest = int(groups.max(initial=-1)) + 1
    order = np.random.default_rng(seed).permutation(largest)
    return np.asarray(order[groups] % count, dtype=np.intp)


def row_digests(hashes: Sequence[str], ids: Sequence[str]) -> Digests:
    """(n,) a number for each query, whichever part of a log it lies in; a row without a hash has
    one of its own id's.

    A multilinear hash, random in each character's place (Carter and Wegman 1979, "Universal classes
    of hash functions"): two texts have the same number once in about 2^58 pairs.
    """
    if not len(hashes):
        return np.zeros(0, dtype=np.uint64)
    fixed = np.array(hashes, dtype=np.str_)
    if fixed.dtype.itemsize // 4 > _MOST_CHARACTERS or not np.strings.str_len(fixed).all():
        fixed = np.array(
            [
                name if 0 < len(name) <= _MOST_CHARACTERS else _short(name or f"\0{row}")
                for name, row in zip(hashes, ids, strict=True)
            ],
            dtype=np.str_,
        )
    width = fixed.dtype.itemsize // 4
    characters = fixed.view(np.uint32).reshape(len(fixed), width)
    digests = np.zeros(len(fixed), dtype=np.uint64)
    for place, factor in enumerate(_FACTORS[:width]):
        digests += characters[:, place] * factor  # modulo 2^64
    return digests


def hashed_folds(digests: Digests, count: int, seed: int) -> Ints:
    """(n,) fold of each row, 0..count−1, by its query and the seed alone, so that however a log is
    cut into parts, its rows have the same folds. They differ in size by chance.
    """
    return np.asarray(_mixed(digests, seed) % np.uint64(count), dtype=np.intp)


def drawn(digests: Digests, seed: int) -> NDArray[np.float64]:
    """(n,) a number in [0, 1) for each digest: those below a share are a random sample."""
    return np.asarray((_mixed(digests, seed) >> np.uint64(11)) * 2.0**-53)


def _short(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _mixed(digests: Digests, seed: int) -> Digests:
    """Steele, Lea and Flood's (2014) SplitMix64, started at each digest and the seed."""
    with np.errstate(over="ignore"):
        mixed = digests + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
