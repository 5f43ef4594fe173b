"""Cross-fitted doubly robust pseudo-outcomes: what every arm would have given, from one draw each.

    Γ(x, a) = q(x, a) + 1[A = a, reported] / (pscore · P(reported)) · (value − q(x, a))

with a reward model q that never saw the row's fold (Dudík et al. 2011; Kennedy 2023, "Towards
optimal doubly robust estimation of heterogeneous causal effects"). The average of Γ over any rows
is unbiased for an arm's value even where q is wrong, as long as the propensities are right.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from training.fit.folds import Ints
from training.fit.heads import arm_means
from training.log.rounds import Bools, Floats, LoggedRounds
from training.reporting.probabilities import reporting_probabilities

NUISANCE_GRID = (10.0, 30.0, 100.0, 300.0, 1000.0)
# An arm with fewer reported rounds than this is predicted by its shrunken mean.
_MIN_ROWS = 50
# Draws of an arm in a fold from which its inverse propensities are normalised.
_MIN_NORMALISED = 30
# Pseudo-rounds of the metric's overall mean, mixed into the mean of such an arm.
_SHRINKAGE = 10.0


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


def predict(draws: OneDraw, train: Bools, test: Bools, alphas: Floats) -> Floats:
    """(test rows, A, M) predictions of reward models fitted on the training rows.

    `alphas` (M,) is each metric's ridge penalty.
    """
    _, arms, metrics = draws.values.shape
    predictions = np.zeros((int(test.sum()), arms, metrics))
    if not test.any():
        return predictions
    known = ~np.isnan(draws.values) & train[:, None, None]
    overall = arm_means(np.where(known, draws.values, np.nan).reshape(-1, 1, metrics), np.zeros(1))
    for a in range(arms):
        for together in _same_rows(known[:, a]):
            rows = known[:, a, together[0]]
            y = draws.values[rows, a][:, together]
            if len(y) < _MIN_ROWS:
                shrunk = y.sum(axis=0) + _SHRINKAGE * overall[0, together]
                predictions[:, a, together] = shrunk / (len(y) + _SHRINKAGE)
                continue
            model: Any = Ridge(alpha=alphas[together]).fit(draws.scaled[rows], y)
            predictions[:, a, together] = model.predict(draws.scaled[test]).reshape(-1, y.shape[1])
    return predictions


def _same_rows(known: Bools) -> list[list[int]]:
    """The metrics in groups that are known on the same rows, so that one fit serves a group."""
    groups: dict[bytes, list[int]] = {}
    for metric, rows in enumerate(known.T):
        groups.setdefault(rows.tobytes(), []).append(metric)
    return list(groups.values())


def out_of_fold(draws: OneDraw, folds: Ints, alphas: Floats) -> Floats:
    """(n, A, M) predictions, each made by models that never saw the row's fold."""
    predictions = np.empty(draws.values.shape)
    for fold in np.unique(folds):
        test = folds == fold
        predictions[test] = predict(draws, ~test, test, alphas)
    return predictions


def choose_alphas(
    draws: OneDraw, folds: Ints, *, advance: Callable[[int], None] = lambda _: None
) -> Floats:
    """(M,) the penalty with the least out-of-fold squared error on the known values."""
    known = ~np.isnan(draws.values)
    losses = []
    for alpha in NUISANCE_GRID:
        predictions = out_of_fold(draws, folds, np.full(draws.values.shape[2], alpha))
        errors = np.where(known, predictions - np.nan_to_num(draws.values), 0.0)
        losses.append((errors**2).sum(axis=(0, 1)))
        advance(1)
    return np.asarray(np.array(NUISANCE_GRID)[np.argmin(losses, axis=0)])


def pseudo_outcomes(draws: OneDraw, predictions: Floats) -> Floats:
    """(n, A, M) Γ: predictions corrected by what was drawn."""
    errors = np.where(draws.inverse > 0.0, np.nan_to_num(draws.values) - predictions, 0.0)
    return np.asarray(predictions + draws.inverse * errors)
