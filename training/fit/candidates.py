"""Candidate policies from doubly robust pseudo-outcomes, from the simplest to the richest.

- `context_free`: every arm's mean, whatever the query. For any objective that is its best fixed
  arm, so this one candidate stands for all of them.
- `joint`: a linear head per arm and metric from all draws together (`training.fit.joint_model`).
- `learned`: a linear head per arm and metric on doubly robust pseudo-outcomes; the stronger its
  penalty, the nearer to the means.
- `residual`: what the incumbent expects, plus a learned correction.

An arm with fewer than MIN_ARM_ROWS reported draws isn't learned: its head is a constant, worse
than what is expected of any learned arm, so that only exploration takes it. (Of 63 draws at a
propensity of 0.03, one log in a few dozen makes a bad arm look better than the incumbent by more
than three standard errors.) The gate asks for 200 on the rounds it judges by.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from policies.linear_policy import IDENTITY
from training.fit.heads import Heads
from training.fit.ridge import Ridges
from training.judge.ope import Z95
from training.log.rounds import Bools, Floats

MIN_ARM_ROWS = 150
ALPHAS = (10_000.0, 3_000.0, 1_000.0, 300.0, 100.0, 30.0)
# The incumbent's own expectations are known without noise; this only keeps the solution unique.
_DISTILLING_ALPHA = 1.0


class Recipe(NamedTuple):
    """A kind of candidate and its penalty."""

    kind: str
    alpha: float | None = None

    @property
    def name(self) -> str:
        """For reports."""
        return self.kind if self.alpha is None else f"{self.kind} α={self.alpha:g}"


JOINT = Recipe("joint")


@dataclass(frozen=True)
class Evidence:
    """What candidates are fitted on: sums over n rows, and some of the rows.

    rows: n; usable: by arm, of the rows where it could be taken; told: of those of which the
    serving policy expected something. Of pseudo-outcomes where the arm is usable: xy (d, A, M)
    Σ x·Γ, y and yy (A, M) Σ Γ and Σ Γ²; x_expected, expected: Σ x·e and Σ e of what was expected.
    supported (A,) arms with enough draws; signs (M,) +1 where more of the metric is better, −1
    where less is; joint: the heads of all arms in one model, of the same rows; tells_apart: whether
    the serving policy expects different things of different queries; some (s, d): scaled rows.
    """

    rows: float
    usable: Ridges
    told: Ridges
    xy: Floats
    y: Floats
    yy: Floats
    x_expected: Floats
    expected: Floats
    supported: Bools
    signs: Floats
    joint: Heads
    tells_apart: bool
    some: Floats

    @cached_property
    def means(self) -> Floats:
        """(A, M) of the pseudo-outcomes."""
        return np.asarray(self.y / np.maximum(self.usable.rows, 1.0)[:, None])

    @property
    def links(self) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
        """(M,) heads are linear in the metric itself."""
        return np.full(self.y.shape[1], IDENTITY, dtype=np.int8)

    def ridge(self, alpha: float, base: Heads | None = None) -> Heads:
        """Ridge regression of the pseudo-outcomes, less what a base expects."""
        xy, y = self.xy, self.y
        if base is not None:
            taken_xy, taken_y = self.usable.products(base.coefficients, base.intercepts)
            xy, y = xy - taken_xy, y - taken_y
        return Heads(*self.usable.solve(xy, y, alpha), self.links)

    def distil(self) -> Heads:
        """The incumbent's expectations as linear heads; zero where it expects nothing."""
        solved = self.told.solve(self.x_expected, self.expected, _DISTILLING_ALPHA)
        return Heads(*solved, self.links)


def recipes(tells_apart: bool) -> tuple[Recipe, ...]:
    """What to fit, simplest first; residuals only where the incumbent tells queries apart."""
    kinds = ["learned", "residual"] if tells_apart else ["learned"]
    penalised = [Recipe(kind, alpha) for kind in kinds for alpha in ALPHAS]
    return (Recipe("context_free"), JOINT, *penalised)


def fit_candidates(evidence: Evidence, wanted: Sequence[Recipe]) -> Iterator[tuple[Recipe, Heads]]:
    """Fit the candidates one after the other."""
    base: Heads | None = None
    for recipe in wanted:
        if recipe == JOINT:
            heads = evidence.joint
        elif recipe.alpha is None:
            heads = _constant(evidence)
        elif recipe.kind == "learned":
            heads = evidence.ridge(recipe.alpha)
        else:
            base = base or evidence.distil()
            correction = evidence.ridge(recipe.alpha, base)
            heads = Heads(
                base.coefficients + correction.coefficients,
                base.intercepts + correction.intercepts,
                base.links,
            )
        yield recipe, _pessimistic(evidence, heads)


def _constant(evidence: Evidence) -> Heads:
    coefficients = np.zeros((*evidence.means.shape, len(evidence.xy)))
    return Heads(coefficients, evidence.means, evidence.links)


def _pessimistic(evidence: Evidence, heads: Heads) -> Heads:
    """The heads, with a constant for each unsupported arm: the worse of its mean and of what the
    heads expect of any supported arm on any of some rows, less the 95 % half-width of its mean.
    """
    poor = ~evidence.supported
    if not poor.any() or poor.all():
        return heads
    means, rows = evidence.means, evidence.usable.rows[:, None]
    # Deviations from the mean sum to 0; rows where the arm isn't usable have none.
    squares = np.maximum(evidence.yy - 2.0 * means * evidence.y + rows * means**2, 0.0)
    spread = np.sqrt(squares / max(evidence.rows, 1.0))
    expected = evidence.signs * heads.expected(evidence.some)[:, evidence.supported]
    others = expected.min((0, 1), initial=np.inf)
    half_width = Z95 * spread / np.sqrt(np.maximum(rows, 1.0))
    worst = np.minimum(evidence.signs * means, others) - half_width
    return Heads(
        np.where(poor[:, None, None], 0.0, heads.coefficients),
        np.where(poor[:, None], evidence.signs * worst, heads.intercepts),
        heads.links,
    )
