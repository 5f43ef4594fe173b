"""Doubly robust pseudo-outcomes: unbiased whatever the reward model, cross-fitted, honest gaps."""

import dataclasses

import numpy as np
import pytest

from tests.training.worlds import prefer, rounds_of, success_rates
from training.fit.feature_scale import fit_scale
from training.fit.folds import grouped_folds
from training.fit.pseudo_outcomes import (
    InverseSums,
    draws_of,
    full_information,
    pseudo_outcomes,
)
from training.judge.cross_fit import cross_fit
from training.log.rounds import LoggedRounds


def gamma_of(rounds: LoggedRounds, *, seed: int = 0) -> np.ndarray:
    scaled = fit_scale(rounds.features).apply(rounds.features)
    draws = draws_of(rounds, scaled)
    folds = grouped_folds(rounds.groups, 5, seed)
    return pseudo_outcomes(draws, cross_fit(draws, folds).predictions)


def test_their_means_are_the_arms_values_under_any_logger() -> None:
    """Null: unbiased. 60 z-scores; one beyond 4.5 would be seen once in 2,400 runs."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        rounds = rounds_of(1_000, rng, probabilities=prefer(1, 1_000, 0.3))
        gamma = gamma_of(rounds)[:, :, 0]
        error = gamma.std(axis=0) / np.sqrt(len(gamma))
        truth = success_rates(rounds.features).mean(axis=0)
        assert (np.abs(gamma.mean(axis=0) - truth) < 4.5 * error).all()


def test_a_wrong_reward_model_leaves_them_unbiased() -> None:
    rng = np.random.default_rng(1)
    rounds = rounds_of(20_000, rng)
    draws = draws_of(rounds, rounds.features.astype(np.float64))
    gamma = pseudo_outcomes(draws, np.full((20_000, 3, 1), 7.0))[:, :, 0]
    error = gamma.std(axis=0) / np.sqrt(len(gamma))
    truth = success_rates(rounds.features).mean(axis=0)
    assert (np.abs(gamma.mean(axis=0) - truth) < 4.5 * error).all()


def test_missing_feedback_is_neither_bad_nor_good() -> None:
    """Arm 0 is reported a tenth as often as the others; its mean stays where it was."""
    rng = np.random.default_rng(2)
    rounds = rounds_of(20_000, rng)
    silent = (rounds.action == 0) & (rng.random(20_000) < 0.9)
    values = np.where(silent[:, None], np.nan, rounds.values)
    gamma = gamma_of(dataclasses.replace(rounds, values=values))[:, :, 0]
    error = gamma.std(axis=0) / np.sqrt(len(gamma))
    truth = success_rates(rounds.features).mean(axis=0)
    assert (np.abs(gamma.mean(axis=0) - truth) < 4.5 * error).all()


def test_what_a_round_drew_never_enters_its_own_prediction() -> None:
    rng = np.random.default_rng(3)
    rounds = rounds_of(500, rng)
    scaled = fit_scale(rounds.features).apply(rounds.features)
    folds = grouped_folds(rounds.groups, 5, 0)
    before = cross_fit(draws_of(rounds, scaled), folds, (30.0,)).predictions
    values = rounds.values.copy()
    values[7] = 100.0
    changed = dataclasses.replace(rounds, values=values)
    after = cross_fit(draws_of(changed, scaled), folds, (30.0,)).predictions
    np.testing.assert_allclose(after[folds == folds[7]], before[folds == folds[7]])
    assert not np.allclose(after, before)


def test_full_information_is_taken_as_it_is() -> None:
    values = np.random.default_rng(0).random((10, 3, 1))
    draws = full_information(np.zeros((10, 2)), values)
    assert pseudo_outcomes(draws, np.zeros((10, 3, 1))) == pytest.approx(values)


def test_an_arm_hardly_ever_drawn_is_predicted_by_a_shrunken_mean() -> None:
    rng = np.random.default_rng(4)
    rounds = rounds_of(300, rng, probabilities=prefer(1, 300, 0.03))
    scaled = fit_scale(rounds.features).apply(rounds.features)
    folds = grouped_folds(rounds.groups, 5, 0)
    predictions = cross_fit(draws_of(rounds, scaled), folds, (30.0,)).predictions
    assert all(np.ptp(predictions[folds == fold, 0, 0]) == 0.0 for fold in range(5))
    assert 0.0 < predictions[:, 0, 0].min() <= predictions[:, 0, 0].max() < 1.0


def test_an_arms_weights_sum_to_the_rows_it_stands_for() -> None:
    rounds = rounds_of(2_000, np.random.default_rng(5), probabilities=prefer(1, 2_000, 0.8))
    usable = rounds.eligible.copy()
    usable[:500, 0] = False
    draws = draws_of(rounds, rounds.features.astype(np.float64))
    draws = draws._replace(inverse=np.where(usable[:, :, None], draws.inverse, 0.0))
    folds = grouped_folds(rounds.groups, 5, 0)
    for fold in range(5):
        mine = draws.rows(folds == fold)
        normaliser = InverseSums.of(mine, usable[folds == fold]).normaliser
        total = (mine.inverse * normaliser).sum(axis=0)[:, 0]
        np.testing.assert_allclose(total, usable[folds == fold].sum(axis=0))


def test_a_handful_of_draws_is_not_normalised() -> None:
    rounds = rounds_of(600, np.random.default_rng(6), probabilities=prefer(1, 600, 0.03))
    draws = draws_of(rounds, rounds.features.astype(np.float64))
    folds = grouped_folds(rounds.groups, 5, 0)
    for fold in range(5):
        mine = folds == fold
        found = InverseSums.of(draws.rows(mine), rounds.eligible[mine]).normaliser
        assert found[0, 0] == 1.0
        assert found[1, 0] != 1.0
