"""Reward models of the estimators: the same numbers as training's, made faster."""

import dataclasses

import numpy as np
import pytest

from tests.training.worlds import prefer, rounds_of
from training.fit.feature_scale import fit_scale
from training.fit.folds import grouped_folds
from training.fit.pseudo_outcomes import choose_alphas, draws_of, out_of_fold
from training.judge.cross_fit import cross_fit
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


@pytest.mark.parametrize("epsilon", [1.0, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_predictions_are_those_of_trainings_out_of_fold_models(epsilon: float, seed: int) -> None:
    """At ε = 0.1 the rarer arms have too few draws for a regression."""
    n = 600
    rounds = two_metrics(
        rounds_of(n, np.random.default_rng(seed), probabilities=prefer(1, n, epsilon)), seed
    )
    draws = draws_of(rounds, fit_scale(rounds.features).apply(rounds.features))
    folds = grouped_folds(rounds.groups, 5, seed)
    found = cross_fit(draws, folds)
    assert np.array_equal(found.alphas, choose_alphas(draws, folds))
    assert np.allclose(found.predictions, out_of_fold(draws, folds, found.alphas), atol=1e-9)


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
