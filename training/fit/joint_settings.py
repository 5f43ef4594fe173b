"""What the joint model needs to know of a metric before its equations: centre and correlations.

Learned from all rows of a log that fits a sample, else from a sample of queries with all their
rows: a few tens of thousands of rows tell a correlation to a hundredth.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from training.fit.folds import Ints
from training.fit.joint_equations import Alike, ArmSquares, Cells, arm_squares, cells_of
from training.fit.joint_solver import CENTRE, solve
from training.fit.pseudo_outcomes import OneDraw
from training.log.rounds import Floats

# Fewer pairs of draws on one query than this don't tell how they go together.
_MIN_PAIRS = 50
_MOST_ALIKE = 0.99


class Settings(NamedTuple):
    """A metric's overall mean, how many outcomes a reported draw stands for on average, and how
    draws on one query go together.
    """

    mean: float
    stands_for: float
    alike: Alike

    def centred(self, cells: Cells) -> Cells:
        """The cells around the mean, a draw's weight 1 on average."""
        return cells._replace(value=cells.value - self.mean, weight=cells.weight / self.stands_for)


def learn_settings(draws: OneDraw, seen: Floats, groups: Ints, folds: Ints) -> list[Settings]:
    """Of every metric.

    Args:
        draws: n rows.
        seen: (n, k) features in the model's directions.
        groups: (n,) equal for near-duplicate queries.
        folds: (n,) fold of each row; groups aren't split.
    """
    metrics = draws.values.shape[2]
    return [_learn(cells_of(draws, groups, m), seen, folds, draws.values.shape[1])
            for m in range(metrics)]  # fmt: skip


def _learn(cells: Cells, seen: Floats, folds: Ints, arms: int) -> Settings:
    count = cells.weight * cells.draws
    if not len(cells.value) or count.sum() <= 0.0:
        return Settings(0.0, 1.0, Alike(0.0, 0.0))
    mean = float(np.average(cells.value, weights=count))
    found = Settings(mean, float(count.sum() / cells.draws.sum()), Alike(0.0, 0.0))
    return found._replace(alike=_alike(found.centred(cells), seen, folds, arms))


def _alike(cells: Cells, seen: Floats, folds: Ints, arms: int) -> Alike:
    """Moments of residuals: of pairs of cells of one query, and within cells."""
    sizes = np.bincount(cells.group)
    pairs = float((sizes * (sizes - 1)).sum() / 2)
    if pairs < _MIN_PAIRS:
        return Alike(0.0, 0.0)
    residuals = _out_of_fold(cells, seen, folds, arms)
    noise = float((residuals**2).mean())
    if noise <= 0.0:
        return Alike(0.0, 0.0)
    total = np.bincount(cells.group, weights=residuals)
    squares = np.bincount(cells.group, weights=residuals**2)
    across = float(((total**2 - squares).sum() / 2) / pairs / noise)
    across = min(max(across, 0.0), _MOST_ALIKE)
    return Alike(_same_arm(cells, noise, across), across)


def _out_of_fold(cells: Cells, seen: Floats, folds: Ints, arms: int) -> Floats:
    """(c,) residuals of the cells, each from equations without its fold, in which all draws on a
    query are taken to be nearly the same.
    """
    fold, residuals = folds[cells.rows], cells.value.copy()
    precision = cells.weight / ((1.0 - _MOST_ALIKE) / cells.draws + _MOST_ALIKE)
    numbers = np.unique(fold).tolist()
    by_fold = {f: arm_squares(seen, cells.some(fold == f), precision[fold == f], arms)
               for f in numbers}  # fmt: skip
    for f in numbers:
        others = [part for number, part in by_fold.items() if number != f]
        mine = fold == f
        solution = _solved(others, seen.shape[1], arms)[cells.arm[mine]]
        rows = seen[cells.rows[mine]]
        residuals[mine] -= (rows * solution[:, :-1]).sum(axis=1) + solution[:, -1]
    return residuals


def _solved(parts: Sequence[ArmSquares], width: int, arms: int) -> Floats:
    if not parts:
        return np.zeros((arms, width + 1))
    return solve(reduce(ArmSquares.plus, parts).equations(), CENTRE, arms)


def _same_arm(cells: Cells, noise: float, across: float) -> float:
    """How much draws of one arm on one query go together, from how little they differ."""
    repeats = float((cells.draws - 1.0).sum())
    if repeats < _MIN_PAIRS:
        return across
    return float(np.clip(1.0 - cells.spread.sum() / repeats / noise, across, _MOST_ALIKE))
