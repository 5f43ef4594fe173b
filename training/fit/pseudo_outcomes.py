"""Cross-fitted doubly robust pseudo-outcomes: what every arm would have given, from one draw each.

    Γ(x, a) = q(x, a) + 1[A = a, reported] / (pscore · P(reported)) · (value − q(x, a))

with a reward model q that never saw the row's fold (Dudík et al. 2011; Kennedy 2023, "Towards
optimal doubly robust estimation of heterogeneous causal effects"). The average of Γ over any rows
is unbiased for an arm's value even where q is wrong, as long as the propensities are right.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from training.log.rounds import Bools, Floats, LoggedRounds
from training.reporting.probabilities import Reporting, reporting_probabilities

# Draws of an arm in a fold from which its inverse propensities are normalised.
_MIN_NORMALISED = 30


class OneDraw(NamedTuple):
    """Rounds, or full-information rows seen as rounds, as the reward models read them.

    scaled (n, d); values (n, A, M), NaN where not known; inverse (n, A, M) the inverse propensity
    of what is known, 0 elsewhere: 1 / (pscore · P(reported)) for a draw, 1 for a row whose every
    outcome is known; stands_for (n, A, M) the part of it that is reporting's, 1 / P(reported).
    """

    scaled: Floats
    values: Floats
    inverse: Floats
    stands_for: Floats

    def rows(self, index: NDArray[Any]) -> "OneDraw":
        """Some of them."""
        return OneDraw(*(part[index] for part in self))

    def with_rows(self, other: "OneDraw") -> "OneDraw":
        """These, then others."""
        if not len(other.scaled):
            return self
        return OneDraw(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))


def draws_of(
    rounds: LoggedRounds, scaled: Floats, reporting: Sequence[Reporting] | None = None
) -> OneDraw:
    """Each round as the one arm it drew; `reporting` by metric, fitted on these rounds without."""
    n, arms, metrics = len(rounds), len(rounds.arms), len(rounds.metrics)
    rows = np.arange(n)
    values = np.full((n, arms, metrics), np.nan)
    values[rows, rounds.action] = rounds.values
    stands_for = np.zeros((n, arms, metrics))
    for m in range(metrics):
        known = ~np.isnan(rounds.values[:, m])
        outcome = np.nan_to_num(rounds.values[:, m])
        likely = (
            reporting_probabilities(rounds, known, outcome)
            if reporting is None
            else reporting[m].probabilities(rounds, known, outcome)
        )
        stands_for[rows, rounds.action, m] = known / np.maximum(likely, 1e-12)
    return OneDraw(scaled, values, stands_for / rounds.pscore[:, None, None], stands_for)


def full_information(scaled: Floats, values: Floats) -> OneDraw:
    """Rows whose every outcome is known, (n, A, M) with NaN where one isn't."""
    known = (~np.isnan(values)).astype(np.float64)
    return OneDraw(scaled, values, known, known)


class InverseSums(NamedTuple):
    """Of one fold's logged rounds: Σ inverse and how many draws (A, M), rows where an arm was
    usable (A,).
    """

    total: Floats
    draws: Floats
    usable: Floats

    @classmethod
    def of(cls, draws: OneDraw, usable: Bools) -> Self:
        """Of rounds, usable (n, A)."""
        return cls(
            draws.inverse.sum(axis=0),
            (draws.inverse > 0.0).sum(axis=0).astype(np.float64),
            usable.sum(axis=0).astype(np.float64),
        )

    def plus(self, other: "InverseSums") -> "InverseSums":
        """Over both sets of rounds."""
        return InverseSums(
            self.total + other.total, self.draws + other.draws, self.usable + other.usable
        )

    @property
    def normaliser(self) -> Floats:
        """(A, M) what an arm's inverse propensities are multiplied by to sum to the rows that it
        stands for, those where it was usable: Hájek's (1971) normalisation, as in SNIPS.

        It trades a bias of order 1/draws for less variance; where a fold has fewer than
        _MIN_NORMALISED draws of an arm, they are left as they are.
        """
        enough = self.draws >= _MIN_NORMALISED
        return np.where(enough, self.usable[:, None] / np.where(enough, self.total, 1.0), 1.0)


def pseudo_outcomes(draws: OneDraw, predictions: Floats) -> Floats:
    """(n, A, M) Γ: predictions corrected by what was drawn."""
    errors = np.where(draws.inverse > 0.0, np.nan_to_num(draws.values) - predictions, 0.0)
    return np.asarray(predictions + draws.inverse * errors)
