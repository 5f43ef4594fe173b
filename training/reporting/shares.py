"""Reporting as a table: the share of like rounds whose outcome was reported."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.log.rounds import Bools, Floats, LoggedRounds

# Draws of one arm for one tenant from which a reporting share is taken.
MIN_LIKE = 50

Ints = NDArray[np.intp]


class CellSums(NamedTuple):
    """Sums over the rounds of each tenant and drawn arm; those of a log's parts add up.

    tenants: T names, sorted; drawn (T, A) rounds; total (T, A) of something over them.
    """

    tenants: tuple[str, ...]
    drawn: Floats
    total: Floats

    @classmethod
    def of(cls, rounds: LoggedRounds, values: Floats | Bools) -> "CellSums":
        """Of values (n,) over the rounds."""
        arms = len(rounds.arms)
        names, tenant = tenant_numbers(rounds.tenants)
        cells, size = tenant * arms + rounds.action, len(names) * arms
        count = np.bincount(cells, minlength=size).astype(np.float64)
        total = np.bincount(cells, weights=values, minlength=size)
        return cls(names, count.reshape(-1, arms), total.reshape(-1, arms).astype(np.float64))

    def plus(self, other: "CellSums") -> "CellSums":
        """Over both sets of rounds."""
        names = tuple(sorted({*self.tenants, *other.tenants}))
        row = {name: position for position, name in enumerate(names)}
        count, total = (np.zeros((len(names), self.drawn.shape[1])) for _ in range(2))
        for part in (self, other):
            rows = [row[name] for name in part.tenants]
            count[rows] += part.drawn
            total[rows] += part.total
        return CellSums(names, count, total)

    def means(self, tenants: NDArray[np.object_]) -> Floats:
        """(n, A) the mean over the rounds of each of n rounds' tenant, with each arm drawn; where
        they are fewer than MIN_LIKE, over all rounds that drew the arm; over all, if none did.
        """
        draws, sums = self.drawn.sum(axis=0), self.total.sum(axis=0)
        overall = sums.sum() / max(draws.sum(), 1.0)
        by_arm = np.where(draws > 0, sums / np.maximum(draws, 1.0), overall)
        own = self.total / np.maximum(self.drawn, 1.0)
        like = np.vstack([np.where(self.drawn >= MIN_LIKE, own, by_arm), by_arm])
        row = {name: position for position, name in enumerate(self.tenants)}
        # A tenant that the sums don't know has the last row.
        names, number = tenant_numbers(tenants)
        found = np.array([row.get(name, len(row)) for name in names], dtype=np.intp)
        return np.asarray(like[found[number]], dtype=np.float64)


def tenant_numbers(tenants: NDArray[np.object_]) -> tuple[tuple[str, ...], Ints]:
    """The different names, sorted, and (n,) the position of each row's among them."""
    encoded = pa.array(tenants, type=pa.string()).dictionary_encode()
    found = encoded.dictionary.to_pylist()
    order = np.array(sorted(range(len(found)), key=found.__getitem__), dtype=np.intp)
    positions = np.empty(len(found), dtype=np.intp)
    positions[order] = np.arange(len(found))
    return tuple(found[row] for row in order), positions[encoded.indices.to_numpy()]


def reporting_shares(rounds: LoggedRounds, known: Bools) -> Floats:
    """(n,) for each round, the share of rounds like it whose outcome was reported.

    Like it are those that drew its arm for its tenant, since tenants report differently; where they
    are fewer than MIN_LIKE, all that drew its arm.
    """
    return shares_of(CellSums.of(rounds, known), rounds)


def shares_of(reported: CellSums, rounds: LoggedRounds) -> Floats:
    """(n,) for each round, the share of the rounds like it that were reported, by a table."""
    if not len(rounds):
        return np.zeros(0)
    table = reported.means(rounds.tenants)
    return np.asarray(table[np.arange(len(rounds)), rounds.action])


def reporting_by_arm(rounds: LoggedRounds, reporting: Floats) -> Floats:
    """(n, A) how often each round would have been reported, had it drawn each arm.

    The harmonic mean of the probabilities of rounds like it, since what they enter is a variance,
    as 1 / P(reported): a tenant of two that reports one time in twenty makes it ten times as large,
    not twice. Like it are those of its tenant that drew the arm; where they are fewer than
    MIN_LIKE, all that drew the arm, or all rounds if none did.

    Args:
        rounds: n rounds.
        reporting: (n,) each round's probability of being reported, with the arm it drew.
    """
    if not reporting.any():
        return np.zeros((len(rounds), len(rounds.arms)))
    inverse = CellSums.of(rounds, 1.0 / reporting)
    return np.asarray(1.0 / inverse.means(rounds.tenants))
