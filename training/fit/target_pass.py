"""The third pass: sums of pseudo-outcomes, for every fold that a candidate may have to do without.

A candidate judged on fold f learns from rows of other folds g, whose pseudo-outcomes come from a
reward model that saw neither f nor g. So each row has a pseudo-outcome for every f, and at f = g
the one that candidates learn from in the end and are judged by. None of them is stored: what ridge
regression needs is Σ x·Γ.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from training.fit.heads import Heads
from training.fit.joint_pass import Reading
from training.fit.pseudo_outcomes import OneDraw, pseudo_outcomes
from training.fit.row_sums import added
from training.fit.training_rows import FOLDS, FoldRows, TrainingPart
from training.log.rounds import Bools, Floats


class Nuisance(NamedTuple):
    """What makes pseudo-outcomes.

    normaliser: by fold, (A, M) of its inverse propensities; nested: by fold g, heads (F·A, M, d)
    that saw neither g nor f, arm by arm within f; observed (M,) metrics that were reported, and
    prior (A, M) what is taken for the others.
    """

    reading: Reading
    normaliser: Mapping[int, Floats]
    nested: Mapping[int, Heads]
    observed: Bools
    prior: Floats

    def draws(self, rows: FoldRows) -> OneDraw:
        """The rows, inverse propensities of logged rounds normalised."""
        draws, logged = self.reading.draws(rows), len(rows.rounds)
        if logged:
            draws.inverse[:logged] *= self.normaliser[rows.fold]
        return draws

    def gamma(self, draws: OneDraw, fold: int) -> Floats:
        """(n, A, M) pseudo-outcomes of a fold's rows by the models that never saw it."""
        heads, arms = self.nested[fold], len(self.prior)
        mine = slice(fold * arms, (fold + 1) * arms)
        own = Heads(heads.coefficients[mine], heads.intercepts[mine], heads.links)
        return self._told(pseudo_outcomes(draws, own.expected(draws.scaled)))

    def all_gamma(self, draws: OneDraw, fold: int) -> Floats:
        """(n, F, A, M) for every fold to do without."""
        shape = (len(draws.scaled), FOLDS, *self.prior.shape)
        predicted = self.nested[fold].expected(draws.scaled).reshape(shape)
        return np.stack(
            [self._told(pseudo_outcomes(draws, predicted[:, f])) for f in range(FOLDS)], axis=1
        )

    def _told(self, gamma: Floats) -> Floats:
        return gamma if self.observed.all() else np.where(self.observed, gamma, self.prior)


class TargetSums(NamedTuple):
    """Of one fold's rows x (n, d), where an arm is usable: Σ x·Γ (d, F, A, M), Σ Γ and Σ Γ²
    (F, A, M); and of what the serving policy expected, (d, A, M) and (A, M).
    """

    xy: Floats
    y: Floats
    yy: Floats
    x_expected: Floats
    expected: Floats

    def plus(self, other: "TargetSums") -> "TargetSums":
        """Over both sets of rows."""
        return TargetSums(*(one + more for one, more in zip(self, other, strict=True)))


def target_sums(part: TrainingPart, nuisance: Nuisance) -> dict[int, TargetSums]:
    """A part's, by fold."""
    found: dict[int, TargetSums] = {}
    for rows in part.read():
        draws, usable = nuisance.draws(rows), rows.usable
        x = draws.scaled
        gamma = nuisance.all_gamma(draws, rows.fold) * usable[:, None, :, None]
        expected = np.nan_to_num(rows.expected) * usable[:, :, None]
        sums = TargetSums(
            xy=(x.T @ gamma.reshape(len(x), -1)).reshape(-1, *gamma.shape[1:]),
            y=gamma.sum(axis=0),
            yy=np.einsum("nfam,nfam->fam", gamma, gamma),
            x_expected=(x.T @ expected.reshape(len(x), -1)).reshape(-1, *expected.shape[1:]),
            expected=expected.sum(axis=0),
        )
        found = added(found, {rows.fold: sums})
    return found
