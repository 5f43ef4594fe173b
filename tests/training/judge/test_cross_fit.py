"""Reward models of the estimators: the same numbers as scikit-learn's, made faster."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests.training.worlds import prefer, rounds_of
from training.fit.feature_scale import fit_scale
from training.fit.folds import grouped_folds
from training.fit.pseudo_outcomes import OneDraw, draws_of
from training.judge.cross_fit import NUISANCE_GRID, cross_fit
from training.log.rounds import LoggedRounds


def two_metrics(rounds: LoggedRounds, seed: int) -> LoggedRounds:
    """The rounds with a second metric, unreported in a third of them."""
    rng = np.random.default_rng(seed)
    n = len(rounds)
    cost = np.where(rng.random(n) < 1 / 3, np.nan, rng.random(n) + rounds.action)
    return dataclasses.replace(
        rounds,
        metrics=("quality", "cost_usd"),
        values=np.column_stack([rounds.values[:, 0], cost]),
        expected=np.full((n, 3, 2), np.nan),
        weights=np.ones((n, 2)),
    )


def out_of_fold(draws: OneDraw, folds: np.ndarray, metric: int, alpha: float) -> np.ndarray:
    """(n, A) of one metric, by a ridge regression for each arm and fold; by the arm's mean and ten
    draws of the overall mean where it has fewer than 50 rows.
    """
    values = draws.values[:, :, metric]
    predictions = np.empty(values.shape)
    for fold in range(5):
        test = folds == fold
        overall = np.nanmean(values[~test])
        for arm in range(values.shape[1]):
            rows = ~np.isnan(values[:, arm]) & ~test
            y = values[rows, arm]
            if len(y) < 50:
                predictions[test, arm] = (y.sum() + 10.0 * overall) / (len(y) + 10.0)
            else:
                ridge = Ridge(alpha=alpha).fit(draws.scaled[rows], y)
                predictions[test, arm] = ridge.predict(draws.scaled[test])
    return predictions


@pytest.mark.parametrize("epsilon", [1.0, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_predictions_are_those_of_ridge_regressions_without_the_fold(
    epsilon: float, seed: int
) -> None:
    """At ε = 0.1 the rarer arms have too few draws for a regression."""
    n = 600
    rounds = two_metrics(
        rounds_of(n, np.random.default_rng(seed), probabilities=prefer(1, n, epsilon)), seed
    )
    draws = draws_of(rounds, fit_scale(rounds.features).apply(rounds.features))
    folds = grouped_folds(rounds.groups, 5, seed)
    found = cross_fit(draws, folds)
    for metric in range(2):
        offered = [out_of_fold(draws, folds, metric, alpha) for alpha in NUISANCE_GRID]
        losses = [np.nansum((each - draws.values[:, :, metric]) ** 2) for each in offered]
        best = int(np.argmin(losses))
        assert found.alphas[metric] == NUISANCE_GRID[best]
        assert np.allclose(found.predictions[:, :, metric], offered[best], atol=1e-9)


def test_a_row_s_own_outcome_doesnt_enter_its_prediction() -> None:
    rounds = rounds_of(300, np.random.default_rng(0))
    draws = draws_of(rounds, fit_scale(rounds.features).apply(rounds.features))
    folds = grouped_folds(rounds.groups, 5, 0)
    values = draws.values.copy()
    values[7, rounds.action[7], 0] += 100.0
    before = cross_fit(draws, folds, (100.0,)).predictions
    after = cross_fit(draws._replace(values=values), folds, (100.0,)).predictions
    assert np.allclose(before[folds == folds[7]], after[folds == folds[7]])
    assert not np.allclose(before, after)
