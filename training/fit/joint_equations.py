"""The joint model's data, by query and arm, and its normal equations."""

from typing import NamedTuple

import numpy as np

from training.fit.folds import Ints
from training.fit.pseudo_outcomes import OneDraw
from training.log.rounds import Bools, Floats


class Alike(NamedTuple):
    """Correlations of what the features leave unexplained between two draws on one query: of the
    same arm, and of different arms (never above it).
    """

    same: float
    across: float


class Cells(NamedTuple):
    """One metric's known values, averaged by query and arm.

    rows (c,) a row with the query's features; group, arm (c,); value (c,); draws (c,) behind it;
    weight (c,) how many outcomes each of them stands for, itself and unreported ones like it, 1 on
    average; spread (c,) the sum of squares of the draws around their mean.
    """

    rows: Ints
    group: Ints
    arm: Ints
    value: Floats
    draws: Floats
    weight: Floats
    spread: Floats

    def some(self, index: Bools) -> "Cells":
        """Some of them."""
        return Cells(
            self.rows[index],
            self.group[index],
            self.arm[index],
            self.value[index],
            self.draws[index],
            self.weight[index],
            self.spread[index],
        )


class Equations(NamedTuple):
    """Normal equations: matrix (A·(k+1), A·(k+1)), right side (A·(k+1),)."""

    matrix: Floats
    right: Floats

    def plus(self, other: "Equations") -> "Equations":
        """Both."""
        return Equations(self.matrix + other.matrix, self.right + other.right)


def cells_of(draws: OneDraw, groups: Ints, metric: int) -> Cells:
    """One metric's known values by query and arm; groups (n,) are equal for near-duplicates."""
    rows, arms = np.nonzero(~np.isnan(draws.values[:, :, metric]))
    values = draws.values[rows, arms, metric]
    counts = draws.stands_for[rows, arms, metric]
    keys = groups[rows] * draws.values.shape[1] + arms
    _, first, cell = np.unique(keys, return_index=True, return_inverse=True)
    draws_of_cell = np.bincount(cell).astype(np.float64)
    total = np.bincount(cell, weights=counts)
    means = np.bincount(cell, weights=counts * values) / np.maximum(total, 1e-12)
    return Cells(
        rows=rows[first],
        group=groups[rows[first]],
        arm=arms[first],
        value=means,
        draws=draws_of_cell,
        weight=total / np.maximum(draws_of_cell, 1.0) * len(rows) / max(total.sum(), 1e-12),
        spread=np.asarray(np.bincount(cell, weights=(values - means[cell]) ** 2), dtype=np.float64),
    )


def equations_of(seen: Floats, cells: Cells, alike: Alike, arms: int) -> Equations:
    """Generalised least squares on features (n, k). A lone cell's variance is its own and its
    query's; where a query has several, what they share is taken out by Sherman and Morrison's
    formula.
    """
    size = seen.shape[1] + 1
    several = np.bincount(cells.group)[cells.group] > 1 if len(cells.group) else np.zeros(0, bool)
    own = (1.0 - alike.same) / cells.draws + alike.same - alike.across
    precision = cells.weight / (own + alike.across * ~several)
    matrix, right = np.zeros((arms, size, arms, size)), np.zeros((arms, size))
    for a in range(arms):
        mine = cells.arm == a
        design = np.column_stack([seen[cells.rows[mine]], np.ones(int(mine.sum()))])
        weighted = design * precision[mine, None]
        matrix[a, :, a] = weighted.T @ design
        right[a] = weighted.T @ cells.value[mine]
    found = Equations(matrix.reshape(arms * size, -1), right.reshape(-1))
    if alike.across > 0.0 and several.any():
        paired = cells.some(several)
        found = found.plus(_shared(seen, paired, precision[several], alike.across, arms))
    return found


def _shared(seen: Floats, cells: Cells, precision: Floats, across: float, arms: int) -> Equations:
    """The formula's correction: minus s·sᵀ / (1/across + Σ precision) for each query, with s the
    sum of its cells' weighted rows.
    """
    _, query = np.unique(cells.group, return_inverse=True)
    count, size = int(query.max()) + 1, seen.shape[1] + 1
    sums = np.zeros((count, arms, size))
    # A query has one cell an arm: nothing is written twice.
    sums[query, cells.arm, :-1] = seen[cells.rows] * precision[:, None]
    sums[query, cells.arm, -1] = precision
    flat = sums.reshape(count, -1)
    factors = 1.0 / (1.0 / across + np.bincount(query, weights=precision))
    values = factors * np.bincount(query, weights=precision * cells.value)
    return Equations(-(flat * factors[:, None]).T @ flat, -flat.T @ values)
