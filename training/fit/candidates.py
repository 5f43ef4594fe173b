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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from policies.linear_policy import IDENTITY
from training.fit.heads import Heads
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


class Evidence(NamedTuple):
    """What candidates are fitted on, n rows.

    scaled (n, d); gamma (n, A, M) pseudo-outcomes; usable (n, A) where an arm was eligible;
    expected (n, A, M) the incumbent's, NaN where it said nothing; supported (A,) arms with enough
    draws; signs (M,) +1 where more of the metric is better, −1 where less is; joint the heads of
    all arms in one model, of the same rows.
    """

    scaled: Floats
    gamma: Floats
    usable: Bools
    expected: Floats
    supported: Bools
    signs: Floats
    joint: Heads

    def rows(self, index: NDArray[Any]) -> "Evidence":
        """Some of the rows."""
        return self._replace(
            scaled=self.scaled[index],
            gamma=self.gamma[index],
            usable=self.usable[index],
            expected=self.expected[index],
        )


def recipes(evidence: Evidence) -> tuple[Recipe, ...]:
    """What to fit, simplest first; residuals only where the incumbent tells queries apart."""
    kinds = ["learned", "residual"] if _tells_apart(evidence) else ["learned"]
    penalised = [Recipe(kind, alpha) for kind in kinds for alpha in ALPHAS]
    return (Recipe("context_free"), JOINT, *penalised)


def _tells_apart(evidence: Evidence) -> bool:
    known = ~np.isnan(evidence.expected).any(axis=(1, 2))
    return bool(known.any() and np.ptp(evidence.expected[known], axis=0).max() > 1e-6)


def fit_candidates(evidence: Evidence, wanted: Sequence[Recipe]) -> Iterator[tuple[Recipe, Heads]]:
    """Fit the candidates one after the other."""
    means = _means(evidence)
    base: Heads | None = None
    for recipe in wanted:
        if recipe == JOINT:
            heads = evidence.joint
        elif recipe.alpha is None:
            heads = _constant(evidence, means)
        elif recipe.kind == "learned":
            heads = _ridge(evidence, evidence.gamma, recipe.alpha)
        else:
            base = base or _distil(evidence)
            correction = _ridge(
                evidence, evidence.gamma - base.expected(evidence.scaled), recipe.alpha
            )
            heads = Heads(
                base.coefficients + correction.coefficients,
                base.intercepts + correction.intercepts,
                base.links,
            )
        yield recipe, _pessimistic(evidence, heads, means)


def _constant(evidence: Evidence, means: Floats) -> Heads:
    arms, metrics = means.shape
    links = np.full(metrics, IDENTITY, dtype=np.int8)
    return Heads(np.zeros((arms, metrics, evidence.scaled.shape[1])), means, links)


def _means(evidence: Evidence) -> Floats:
    usable = evidence.usable[:, :, None]
    counts = np.maximum(usable.sum(axis=0), 1)
    return np.asarray(np.where(usable, evidence.gamma, 0.0).sum(axis=0) / counts)


def _ridge(evidence: Evidence, targets: Floats, alpha: float) -> Heads:
    """Ridge regression of targets (n, A, M), each arm on the rows where it could be taken."""
    arms, metrics = targets.shape[1:]
    dimension = evidence.scaled.shape[1]
    coefficients, intercepts = np.zeros((arms, metrics, dimension)), np.zeros((arms, metrics))
    together = bool(evidence.usable.all())
    groups = [list(range(arms))] if together else [[arm] for arm in range(arms)]
    for group in groups:
        rows = evidence.usable[:, group[0]]
        if not rows.any():
            continue
        y = targets[rows][:, group].reshape(int(rows.sum()), -1)
        model: Any = Ridge(alpha=alpha).fit(evidence.scaled[rows], y)
        coefficients[group] = model.coef_.reshape(len(group), metrics, dimension)
        intercepts[group] = model.intercept_.reshape(len(group), metrics)
    return Heads(coefficients, intercepts, np.full(metrics, IDENTITY, dtype=np.int8))


def _distil(evidence: Evidence) -> Heads:
    """The incumbent's expectations as linear heads; zero where it expects nothing of a metric."""
    silent = np.isnan(evidence.expected).all(axis=(1, 2))
    told = evidence.rows(np.flatnonzero(~silent))
    return _ridge(told, np.nan_to_num(told.expected), _DISTILLING_ALPHA)


def _pessimistic(evidence: Evidence, heads: Heads, means: Floats) -> Heads:
    """The heads, with a constant for each unsupported arm: the worse of its mean and of what the
    heads expect of any supported arm on any of these rows, less the 95 % half-width of its mean.
    """
    poor = ~evidence.supported
    if not poor.any() or poor.all():
        return heads
    spread = np.where(evidence.usable[:, :, None], evidence.gamma - means, 0.0).std(axis=0)
    rows = np.maximum(evidence.usable.sum(axis=0), 1)[:, None]
    others = (evidence.signs * heads.expected(evidence.scaled)[:, evidence.supported]).min((0, 1))
    worst = np.minimum(evidence.signs * means, others) - Z95 * spread / np.sqrt(rows)
    return Heads(
        np.where(poor[:, None, None], 0.0, heads.coefficients),
        np.where(poor[:, None], evidence.signs * worst, heads.intercepts),
        heads.links,
    )
