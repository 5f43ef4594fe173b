"""All arms in one linear model: what they share is learned from all draws, what sets them apart is
shrunk more, and outcomes of one query are known to go together.

    value(query g, arm a) = b_a + x·(w_0 + w_a) + u_g + e

with w_0 ~ N(0, 1/main), w_a ~ N(0, 1/contrast) and u_g the query's own difficulty: generalised
least squares with a random intercept per query (Laird and Ware 1982). A query seen with two arms
then tells of their difference without its difficulty, which text hardly predicts: on the recorded
tables two arms' outcomes on one query correlate by about 0.5 beyond what the features tell.

The contrast penalty isn't chosen but averaged over a grid, by cross-fitted squared error and a
prior; an average of linear heads is one linear head. Developed on the train rows of four recorded
tables alone, split 2:1 and 5:1 and replayed as uniform logs. There the random intercept helped at
every penalty; the prior's centre was read off the same splits, and its average as used here was
not compared on them.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import reduce
from typing import NamedTuple

import numpy as np

from policies.linear_policy import IDENTITY
from policies.question import QUESTION_FEATURES
from training.fit.folds import Ints
from training.fit.heads import Heads
from training.fit.joint_equations import Alike, Cells, Equations, cells_of, equations_of
from training.fit.pseudo_outcomes import OneDraw
from training.log.rounds import Floats

# Penalties of the contrasts between arms, in rows of a metric's noise.
CONTRASTS = (1.0, 10.0, 30.0, 60.0, 100.0, 200.0, 400.0, 1_000.0, 10_000.0)
# The prior over them: log-normal, its centre where routing was best on the tables' train rows.
_CENTRE, _DECADES = 100.0, 0.5
# What arms share has a hundred draws where a contrast has ten; it needs no stronger penalty.
_MAIN = 10.0
# Directions of the features that are looked at; the rest hardly vary between queries.
_DIRECTIONS = 100
# Beside an embedding, in the few rows of a log, a question feature counts half of what it counts
# with full information (see QUESTION_SHARE).
_QUESTION_DISCOUNT = 0.5
# Pseudo-rounds of the overall mean that an arm's own begins with.
_PRIOR_ROWS = 1.0
# Fewer pairs of draws on one query than this don't tell how they go together.
_MIN_PAIRS = 50
_MOST_ALIKE = 0.99


class Settings(NamedTuple):
    """What is learned of a metric on all rows: its overall mean, what each of CONTRASTS counts
    (g,), and how draws on one query go together.
    """

    mean: float
    average: Floats
    alike: Alike


class _Metric(NamedTuple):
    """One metric's settings and equations by fold; none where it was never reported."""

    settings: Settings
    folds: list[Equations]


class JointModel:
    """The model's equations by fold, so that leaving folds out costs one subtraction."""

    def __init__(
        self,
        draws: OneDraw,
        groups: Ints,
        folds: Ints,
        settings: Sequence[Settings] | None = None,
    ) -> None:
        """Prepare.

        Args:
            draws: n rounds, or full-information rows.
            groups: (n,) equal for near-duplicate queries, which have equal features.
            folds: (n,) fold of each row; groups aren't split.
            settings: of each metric; learned from the draws without.
        """
        self._arms = draws.values.shape[1]
        self._folds, self._count = folds, int(folds.max()) + 1
        self._basis = _basis(draws.scaled)
        self._seen = draws.scaled @ self._basis
        cells = [cells_of(draws, groups, metric) for metric in range(draws.values.shape[2])]
        self.settings = settings or [self._learn(each) for each in cells]
        self._metrics = [self._prepare(*each) for each in zip(cells, self.settings, strict=True)]

    def _learn(self, cells: Cells) -> Settings:
        if not len(cells.value):
            return Settings(0.0, np.zeros(len(CONTRASTS)), Alike(0.0, 0.0))
        mean = float(np.average(cells.value, weights=cells.weight * cells.draws))
        cells = cells._replace(value=cells.value - mean)
        alike = self._alike(cells, self._equations(cells, Alike(_MOST_ALIKE, 0.0)))
        return Settings(mean, self._average(cells, self._equations(cells, alike)), alike)

    def _prepare(self, cells: Cells, settings: Settings) -> _Metric:
        if not len(cells.value):
            return _Metric(settings, [])
        centred = cells._replace(value=cells.value - settings.mean)
        return _Metric(settings, self._equations(centred, settings.alike))

    def _equations(self, cells: Cells, alike: Alike) -> list[Equations]:
        fold = self._folds[cells.rows]
        return [
            equations_of(self._seen, cells.some(fold == f), alike, self._arms)
            for f in range(self._count)
        ]

    def _out_of_fold(self, cells: Cells, equations: Sequence[Equations], contrast: float) -> Floats:
        """(c,) residuals of the cells, each from equations without its fold."""
        fold, residuals = self._folds[cells.rows], cells.value.copy()
        for f in range(self._count):
            mine = fold == f
            if mine.any():
                solution = self._solve(_without(equations, {f}), contrast)[cells.arm[mine]]
                seen = self._seen[cells.rows[mine]]
                residuals[mine] -= (seen * solution[:, :-1]).sum(axis=1) + solution[:, -1]
        return residuals

    def _alike(self, cells: Cells, equations: Sequence[Equations]) -> Alike:
        """Moments of residuals: of pairs of cells of one query, and within cells."""
        residuals = self._out_of_fold(cells, equations, _CENTRE)
        noise = float((residuals**2).mean())
        total = np.bincount(cells.group, weights=residuals)
        squares = np.bincount(cells.group, weights=residuals**2)
        sizes = np.bincount(cells.group)
        pairs = float((sizes * (sizes - 1)).sum() / 2)
        if pairs < _MIN_PAIRS or noise <= 0.0:
            return Alike(0.0, 0.0)
        across = float(((total**2 - squares).sum() / 2) / pairs / noise)
        across = min(max(across, 0.0), _MOST_ALIKE)
        return Alike(_same_arm(cells, noise, across), across)

    def _average(self, cells: Cells, equations: Sequence[Equations]) -> Floats:
        """(g,) what each contrast penalty counts: its prior times its cross-fitted likelihood."""
        count = cells.weight * cells.draws
        losses = np.array(
            [
                float((count * self._out_of_fold(cells, equations, contrast) ** 2).sum())
                for contrast in CONTRASTS
            ]
        )
        decades = np.log10(np.array(CONTRASTS) / _CENTRE) / _DECADES
        noise = max(losses.min() / count.sum(), 1e-12)
        score = -0.5 * decades**2 - (losses - losses.min()) / (2.0 * noise)
        weights = np.exp(score - score.max())
        weights[weights < 0.01] = 0.0
        return np.asarray(weights / weights.sum())

    def _solve(self, equations: Equations, contrast: float) -> Floats:
        """(A, k+1) coefficients and intercepts."""
        arms, size = self._arms, self._seen.shape[1]
        main = min(_MAIN, contrast)
        precision = np.linalg.inv(np.full((arms, arms), 1.0 / main) + np.eye(arms) / contrast)
        matrix = equations.matrix.reshape(arms, size + 1, arms, size + 1).copy()
        each, every = np.arange(size), np.arange(arms)
        matrix[:, each, :, each] += precision
        matrix[every, size, every, size] += _PRIOR_ROWS
        flat = matrix.reshape(arms * (size + 1), -1)
        solution = np.linalg.solve(flat, equations.right)
        return np.asarray(solution, dtype=np.float64).reshape(arms, size + 1)

    def heads(self, without: AbstractSet[int] = frozenset()) -> Heads:
        """The heads on scaled features, learned from all folds but these."""
        metrics = len(self._metrics)
        coefficients = np.zeros((self._arms, metrics, len(self._basis)))
        intercepts = np.zeros((self._arms, metrics))
        for m, metric in enumerate(self._metrics):
            intercepts[:, m] = metric.settings.mean
            if metric.folds:
                kept = _without(metric.folds, without)
                solution = sum(
                    weight * self._solve(kept, contrast)
                    for weight, contrast in zip(metric.settings.average, CONTRASTS, strict=True)
                    if weight > 0.0
                )
                coefficients[:, m] = solution[:, :-1] @ self._basis.T
                intercepts[:, m] += solution[:, -1]
        return Heads(coefficients, intercepts, np.full(metrics, IDENTITY, dtype=np.int8))

    def averages(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """By metric, the contrast penalties that count and how much."""
        return {
            name: {
                f"{contrast:g}": float(weight)
                for contrast, weight in zip(CONTRASTS, settings.average, strict=True)
                if weight > 0.0
            }
            for name, settings in zip(names, self.settings, strict=True)
        }

    def correlations(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """By metric, how much two draws on one query go together."""
        return {
            name: settings.alike._asdict()
            for name, settings in zip(names, self.settings, strict=True)
        }


def _basis(scaled: Floats) -> Floats:
    """(d, k) the directions in which queries differ most, question features discounted."""
    discount = np.ones(scaled.shape[1])
    discount[scaled.shape[1] - len(QUESTION_FEATURES) :] = _QUESTION_DISCOUNT
    seen = scaled * discount
    values, vectors = np.linalg.eigh(seen.T @ seen)
    return np.asarray(discount[:, None] * vectors[:, np.argsort(-values)[:_DIRECTIONS]])


def _same_arm(cells: Cells, noise: float, across: float) -> float:
    """How much draws of one arm on one query go together, from how little they differ."""
    repeats = float((cells.draws - 1.0).sum())
    if repeats < _MIN_PAIRS:
        return across
    return float(np.clip(1.0 - cells.spread.sum() / repeats / noise, across, _MOST_ALIKE))


def _without(equations: Sequence[Equations], folds: AbstractSet[int]) -> Equations:
    kept = [part for fold, part in enumerate(equations) if fold not in folds]
    return reduce(lambda one, other: one.plus(other), kept)
