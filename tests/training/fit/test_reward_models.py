"""Reward models on full-information rows: recipes chosen out of fold, blended into one model."""

import numpy as np
import pytest

from tests.training.worlds import features_of, success_rates
from training.fit.folds import grouped_folds
from training.fit.members import MIN_HEAD_ROWS
from training.fit.reward_models import MEANS, FittedRewards, fit_rewards, refit_rewards

METRICS = ("quality", "latency_s", "steps")


def world(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A learnable quality, a learnable latency and a constant step count."""
    rng = np.random.default_rng(seed)
    features = features_of(n, rng)
    rates = success_rates(features)
    values = np.full((n, 3, 3), np.nan)
    values[:, :, 0] = rng.random((n, 3)) < rates
    values[:, :, 1] = 2.0 + features[:, [1]] + 0.1 * rng.normal(size=(n, 3))
    values[:, :, 2] = np.arange(3)
    return features, values, rates


def fitted(features: np.ndarray, values: np.ndarray, seed: int = 0) -> FittedRewards:
    folds = grouped_folds(np.arange(len(values)), 5, seed)
    return fit_rewards(features, values, folds, METRICS[: values.shape[2]], seed=seed)


def test_expectations_come_near_the_truth() -> None:
    """Per-arm constants are off by 0.16 on average where rates depend on the query."""
    features, values, rates = world(1_500)
    error = np.abs(fitted(features, values).model.expected(features)[:, :, 0] - rates)
    assert error[:, [0, 2]].mean() < 0.05


def test_a_metric_that_queries_say_nothing_of_keeps_its_arms_means() -> None:
    features, values, _ = world(1_500)
    values[:, :, 0] = np.random.default_rng(1).random((1_500, 3)) < 0.4
    fit = fitted(features, values)
    assert fit.recipes["steps"].name == MEANS
    np.testing.assert_allclose(fit.model.expected(features)[0, :, 2], [0.0, 1.0, 2.0], atol=1e-9)
    spread = fit.model.expected(features)[:, :, 0].std(axis=0)
    assert (spread < 0.02).all()


def test_the_recipe_with_the_least_error_out_of_fold_is_kept() -> None:
    fit = fitted(*world(1_500)[:2])
    for metric in METRICS:
        scores = [score for score in fit.scores if score.metric == metric]
        [chosen] = [score for score in scores if score.chosen]
        assert chosen.recipe == fit.recipes[metric].name
        assert chosen.loss <= min(score.loss for score in scores) + 1e-6


def test_the_same_seed_gives_the_same_model() -> None:
    features, values, _ = world(400)
    one, two = (fitted(features, values, seed=2).model.expected(features) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_refitting_by_the_chosen_recipes_gives_the_same_model() -> None:
    features, values, _ = world(600)
    fit = fitted(features, values, seed=1)
    again = refit_rewards(features, values, METRICS, fit.recipes, seed=1)
    np.testing.assert_array_equal(again.expected(features), fit.model.expected(features))


def test_few_rows_are_not_learned_from() -> None:
    features, values, _ = world(MIN_HEAD_ROWS - 1)
    model = fitted(features, values).model
    assert not model.linear.any()
    assert model.landmarks is None
    assert model.hidden is None


def test_arms_that_never_failed_or_were_never_seen_stay_finite() -> None:
    features = features_of(100, np.random.default_rng(0))
    values = np.ones((100, 3, 1))
    values[:, 2] = np.nan
    expected = fitted(features, values).model.expected(features)[0, :, 0]
    assert expected == pytest.approx(1.0)


def test_calibration_holds_on_queries_it_has_not_seen() -> None:
    """Expected calibration error in ten bins, over the noise of 4,000 rows alone (about .015 for
    bins of 400): null expected excess 0, asserted below .02 (it is seeded).
    """
    model = fitted(*world(2_000)[:2]).model
    rng = np.random.default_rng(7)
    fresh = features_of(4_000, rng)
    outcomes = rng.random((4_000, 3)) < success_rates(fresh)
    expected = model.expected(fresh)[:, :, 0]
    for arm in range(3):
        order = np.argsort(expected[:, arm])
        gaps = [
            abs(outcomes[part, arm].mean() - expected[part, arm].mean())
            for part in np.array_split(order, 10)
        ]
        assert np.mean(gaps) < 0.035


def test_an_arm_without_a_metric_is_expected_to_be_as_the_others_are() -> None:
    """It isn't free only because nobody recorded its cost."""
    features, values, _ = world(400)
    values = values[:, :, 1:2].copy()
    values[:, 2] = np.nan
    model = fit_rewards(features, values, np.arange(400) % 5, ["latency_s"], seed=0).model
    expected = model.expected(features).mean(axis=0)[:, 0]
    assert expected[2] == pytest.approx(expected[:2].mean(), abs=0.05)


def test_features_learned_from_outcomes_are_judged_where_they_did_not_see_them() -> None:
    """Features that give away the outcomes of the rows they were learned on, and only of those,
    are worth nothing: the arms' means are kept.
    """
    rng = np.random.default_rng(3)
    n = 400
    values = (rng.random((n, 2, 1)) < 0.5).astype(np.float64)
    folds = grouped_folds(np.arange(n), 5, 0)
    leaking = features_of(n, rng)
    leaking[:, 0] = values[:, 0, 0] - values[:, 1, 0]
    by_fold = {}
    for fold in range(5):
        by_fold[fold] = leaking.copy()
        by_fold[fold][folds == fold, 0] = rng.permutation(leaking[folds == fold, 0])
    honest = fit_rewards(leaking, values, folds, ("quality",), seed=0, fold_features=by_fold)
    fooled = fit_rewards(leaking, values, folds, ("quality",), seed=0)
    spread = honest.model.expected(leaking)[:, :, 0].std(axis=0)
    assert (spread < 0.1).all()
    assert (fooled.model.expected(leaking)[:, :, 0].std(axis=0) > 0.2).all()
