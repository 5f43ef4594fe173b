"""Cross-fitted doubly robust pseudo-outcomes: what every arm would have given, from one draw each.

    Γ(x, a) = q(x, a) + 1[A = a, reported] / (pscore · P(reported)) · (value − q(x, a))

with a reward model q that never saw the row's fold (Dudík et al. 2011; Kennedy 2023, "Towards
optimal doubly robust estimation of heterogeneous causal effects"). The average of Γ over any rows
is unbiased for an arm's value even where q is wrong, as long as the propensities are right.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.fit.folds import Ints
from training.log.rounds import Bools, Floats, LoggedRounds
from training.reporting.probabilities import reporting_probabilities

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


def draws_of(rounds: LoggedRounds, scaled: Floats) -> OneDraw:
    """Each round as the one arm it drew."""
    n, arms, metrics = len(rounds), len(rounds.arms), len(rounds.metrics)
    rows = np.arange(n)
    values = np.full((n, arms, metrics), np.nan)
    values[rows, rounds.action] = rounds.values
    stands_for = np.zeros((n, arms, metrics))
    for m in range(metrics):
        known = ~np.isnan(rounds.values[:, m])
        reporting = reporting_probabilities(rounds, known, np.nan_to_num(rounds.values[:, m]))
        stands_for[rows, rounds.action, m] = known / np.maximum(reporting, 1e-12)
    return OneDraw(scaled, values, stands_for / rounds.pscore[:, None, None], stands_for)


def full_information(scaled: Floats, values: Floats) -> OneDraw:
    """Rows whose every outcome is known, (n, A, M) with NaN where one isn't."""
    known = (~np.isnan(values)).astype(np.float64)
    return OneDraw(scaled, values, known, known)


def self_normalised(draws: OneDraw, usable: Bools, folds: Ints) -> OneDraw:
    """The draws, each arm's inverse propensities in a fold scaled to sum to the rows that it stands
    for, those where the arm was `usable` (n, A): Hájek's (1971) normalisation, as in SNIPS.

    It trades a bias of order 1/draws for less variance; where a fold has fewer than
    _MIN_NORMALISED draws of an arm, they are left as they are.
    """
    inverse = draws.inverse.copy()
    for fold in np.unique(folds):
        mine = folds == fold
        total = inverse[mine].sum(axis=0)
        enough = (inverse[mine] > 0.0).sum(axis=0) >= _MIN_NORMALISED
        rows = usable[mine].sum(axis=0)[:, None]
        inverse[mine] *= np.where(enough, rows / np.where(enough, total, 1.0), 1.0)
    return draws._replace(inverse=inverse)


def pseudo_outcomes(draws: OneDraw, predictions: Floats) -> Floats:
    """(n, A, M) Γ: predictions corrected by what was drawn."""
    errors = np.where(draws.inverse > 0.0, np.nan_to_num(draws.values) - predictions, 0.0)
    return np.asarray(predictions + draws.inverse * errors)
