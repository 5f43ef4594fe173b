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
    weight (c,) how many outcomes each of them stands for, itself and unreported ones like it;
    spread (c,) the sum of squares of the draws around their mean.
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

    @property
    def several(self) -> Bools:
        """(c,) whether the query has other cells."""
        return np.asarray(np.bincount(self.group)[self.group] > 1)


class Equations(NamedTuple):
    """Normal equations: matrix (A·(k+1), A·(k+1)), right side (A·(k+1),)."""

    matrix: Floats
    right: Floats

    def plus(self, other: "Equations") -> "Equations":
        """Both."""
        return Equations(self.matrix + other.matrix, self.right + other.right)


class ArmSquares(NamedTuple):
    """Weighted sums of squares by arm, of features and a constant: Σ w·z·zᵀ (A, k+1, k+1),
    Σ w·z·y (A, k+1), Σ w·y² (A,).
    """

    matrix: Floats
    right: Floats
    total: Floats

    def plus(self, other: "ArmSquares") -> "ArmSquares":
        """Over both sets of cells."""
        return ArmSquares(
            self.matrix + other.matrix, self.right + other.right, self.total + other.total
        )

    def loss(self, solution: Floats) -> float:
        """Σ w · (y − z·solution)², for coefficients and intercepts (A, k+1)."""
        explained = np.einsum("as,ast,at->", solution, self.matrix, solution)
        return float(self.total.sum() - 2.0 * (solution * self.right).sum() + explained)

    @property
    def weight(self) -> float:
        """Σ w."""
        return float(self.matrix[:, -1, -1].sum())

    def equations(self) -> Equations:
        """The arms side by side."""
        arms, size = self.right.shape
        matrix = np.zeros((arms, size, arms, size))
        every = np.arange(arms)
        matrix[every, :, every] = self.matrix
        return Equations(matrix.reshape(arms * size, -1), self.right.reshape(-1))


class JointSums(NamedTuple):
    """One metric's, of one fold: what is solved, and what a solution's squared error follows from,
    each cell weighing as much as its draws.
    """

    equations: Equations
    squares: ArmSquares

    def plus(self, other: "JointSums") -> "JointSums":
        """Over both sets of cells."""
        return JointSums(self.equations.plus(other.equations), self.squares.plus(other.squares))


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
        weight=total / np.maximum(draws_of_cell, 1.0),
        spread=np.asarray(np.bincount(cell, weights=(values - means[cell]) ** 2), dtype=np.float64),
    )


def joint_sums(seen: Floats, cells: Cells, alike: Alike, arms: int) -> JointSums:
    """Generalised least squares on features (n, k). A lone cell's variance is its own and its
    query's; where a query has several, what they share is taken out by Sherman and Morrison's
    formula.
    """
    several = cells.several
    # A lone draw on a query weighs the same in the equations and in the error.
    lone = ~several & (cells.draws == 1.0)
    plain, others = cells.some(lone), cells.some(~lone)
    squares = arm_squares(seen, plain, plain.weight, arms)
    equations = squares.equations()
    if len(others.value):
        among = several[~lone]
        own = (1.0 - alike.same) / others.draws + alike.same - alike.across
        precision = others.weight / (own + alike.across * ~among)
        equations = equations.plus(arm_squares(seen, others, precision, arms).equations())
        squares = squares.plus(arm_squares(seen, others, others.weight * others.draws, arms))
        if alike.across > 0.0 and among.any():
            shared = _shared(seen, others.some(among), precision[among], alike.across, arms)
            equations = equations.plus(shared)
    return JointSums(equations, squares)


def arm_squares(seen: Floats, cells: Cells, weights: Floats, arms: int) -> ArmSquares:
    """Of the cells, on features (n, k), each with its weight (c,)."""
    size = seen.shape[1] + 1
    found = ArmSquares(np.zeros((arms, size, size)), np.zeros((arms, size)), np.zeros(arms))
    roots = np.sqrt(weights)
    for a in range(arms):
        mine = cells.arm == a
        design = np.empty((int(mine.sum()), size))
        np.multiply(seen[cells.rows[mine]], roots[mine, None], out=design[:, :-1])
        design[:, -1] = roots[mine]
        values = roots[mine] * cells.value[mine]
        found.matrix[a], found.right[a] = design.T @ design, design.T @ values
        found.total[a] = values @ values
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
    factors = 1.0 / (1.0 / across + np.bincount(query, weights=precision))
    values = factors * np.bincount(query, weights=precision * cells.value)
    flat = sums.reshape(count, -1)
    right = -flat.T @ values
    flat *= np.sqrt(factors)[:, None]
    return Equations(-flat.T @ flat, right)
