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

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import reduce
from typing import NamedTuple

import numpy as np

from policies.linear_policy import IDENTITY
from training.fit.folds import Ints
from training.fit.heads import Heads
from training.fit.joint_equations import Equations, JointSums, cells_of, joint_sums
from training.fit.joint_settings import Settings, learn_settings
from training.fit.joint_solver import CENTRE, basis_of, solve
from training.fit.pseudo_outcomes import OneDraw
from training.log.rounds import Floats

# Penalties of the contrasts between arms, in rows of a metric's noise.
CONTRASTS = (1.0, 10.0, 30.0, 60.0, 100.0, 200.0, 400.0, 1_000.0, 10_000.0)
# The prior over them is log-normal around CENTRE.
_DECADES = 0.5


class _Metric(NamedTuple):
    """One metric's settings, what each of CONTRASTS counts (g,), and its equations by fold; none
    where it was never reported.
    """

    settings: Settings
    average: Floats
    folds: dict[int, Equations]


class JointModel:
    """The model's equations by fold, so that leaving folds out costs one subtraction."""

    def __init__(
        self,
        basis: Floats,
        sums: Mapping[tuple[int, int], JointSums],
        settings: Sequence[Settings],
        arms: int,
        averages: Sequence[Floats] | None = None,
    ) -> None:
        """Learn what each contrast penalty counts, where `averages` (g,) by metric don't say.

        Args:
            basis: (d, k) directions in which queries are seen.
            sums: by fold and metric, of cells centred by their settings.
            settings: of each metric.
            arms: how many there are.
        """
        self._basis, self._arms = basis, arms
        self.settings = list(settings)
        self._metrics = []
        for m, known in enumerate(settings):
            mine = {fold: part for (fold, metric), part in sums.items() if metric == m}
            self._metrics.append(self._metric(known, mine, averages[m] if averages else None))

    @classmethod
    def of(
        cls,
        draws: OneDraw,
        groups: Ints,
        folds: Ints,
        settings: Sequence[Settings] | None = None,
        averages: Sequence[Floats] | None = None,
    ) -> "JointModel":
        """The model of rows in memory.

        Args:
            draws: n rounds, or full-information rows.
            groups: (n,) equal for near-duplicate queries, which have equal features.
            folds: (n,) fold of each row; groups aren't split.
            settings: of each metric; learned from the draws without.
            averages: what each contrast penalty counts, by metric; learned without.
        """
        basis = basis_of(draws.scaled.T @ draws.scaled)
        known = settings or learn_settings(draws, draws.scaled @ basis, groups, folds)
        sums: dict[tuple[int, int], JointSums] = {}
        for fold in np.unique(folds).tolist():
            mine = folds == fold
            of_fold = joint_sums_of(draws.rows(mine), groups[mine], basis, known)
            sums |= {(fold, metric): part for metric, part in of_fold.items()}
        return cls(basis, sums, known, draws.values.shape[1], averages)

    def _metric(
        self, settings: Settings, sums: dict[int, JointSums], average: Floats | None
    ) -> _Metric:
        if not sums:
            return _Metric(settings, np.zeros(len(CONTRASTS)), {})
        equations = {fold: part.equations for fold, part in sums.items()}
        if average is None:
            average = self._average(equations, sums)
        return _Metric(settings, average, equations)

    @property
    def averages(self) -> list[Floats]:
        """(g,) by metric, what each of CONTRASTS counts."""
        return [metric.average for metric in self._metrics]

    def _average(self, equations: dict[int, Equations], sums: dict[int, JointSums]) -> Floats:
        """(g,) what each contrast penalty counts: its prior times its cross-fitted likelihood."""
        losses = np.array(
            [
                sum(
                    part.squares.loss(self._solve(_without(equations, {fold}), contrast))
                    for fold, part in sums.items()
                )
                for contrast in CONTRASTS
            ]
        )
        count = sum(part.squares.weight for part in sums.values())
        decades = np.log10(np.array(CONTRASTS) / CENTRE) / _DECADES
        noise = max(losses.min() / max(count, 1e-12), 1e-12)
        score = -0.5 * decades**2 - (losses - losses.min()) / (2.0 * noise)
        weights = np.exp(score - score.max())
        weights[weights < 0.01] = 0.0
        return np.asarray(weights / weights.sum())

    def _solve(self, equations: Equations | None, contrast: float) -> Floats:
        """(A, k+1) coefficients and intercepts; nothing is told by no row."""
        if equations is None:
            return np.zeros((self._arms, self._basis.shape[1] + 1))
        return solve(equations, contrast, self._arms)

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
                    for weight, contrast in zip(metric.average, CONTRASTS, strict=True)
                    if weight > 0.0
                )
                coefficients[:, m] = solution[:, :-1] @ self._basis.T
                intercepts[:, m] += solution[:, -1]
        return Heads(coefficients, intercepts, np.full(metrics, IDENTITY, dtype=np.int8))

    def contrast_penalties(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """By metric, the contrast penalties that count and how much."""
        return {
            name: {
                f"{contrast:g}": float(weight)
                for contrast, weight in zip(CONTRASTS, metric.average, strict=True)
                if weight > 0.0
            }
            for name, metric in zip(names, self._metrics, strict=True)
        }

    def correlations(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """By metric, how much two draws on one query go together."""
        return {
            name: settings.alike._asdict()
            for name, settings in zip(names, self.settings, strict=True)
        }


def joint_sums_of(
    draws: OneDraw, groups: Ints, basis: Floats, settings: Sequence[Settings]
) -> dict[int, JointSums]:
    """By metric that any of the rows reports, the sums of one fold's rows."""
    seen = draws.scaled @ basis
    found = {}
    for m, known in enumerate(settings):
        cells = cells_of(draws, groups, m)
        if len(cells.value):
            arms = draws.values.shape[1]
            found[m] = joint_sums(seen, known.centred(cells), known.alike, arms)
    return found


def _without(equations: Mapping[int, Equations], folds: AbstractSet[int]) -> Equations | None:
    kept = [part for fold, part in sorted(equations.items()) if fold not in folds]
    return reduce(Equations.plus, kept) if kept else None
