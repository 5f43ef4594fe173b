"""A recorded outcomes table as a world: all outcomes are known, only the drawn one is told."""

import numpy as np

from training.simulation import Traffic
from training.tables.outcomes import OutcomeTable


class RecordedWorld:
    """The rows of a table in a random order, each at most once."""

    def __init__(self, table: OutcomeTable) -> None:
        self._table = table

    def traffic(self, n: int, rng: np.random.Generator) -> Traffic:
        """n rows (all of them where n is larger), shuffled."""
        rows = rng.permutation(len(self._table.queries))[:n]
        values = self._table.values[rows]
        queries = [self._table.queries[row] for row in rows]
        return Traffic(queries, tuple(self._table.arms), tuple(self._table.metrics), values, values)
