"""Reward models on full-information rows."""

import numpy as np
import pytest

from policies.linear_policy import IDENTITY, LOGISTIC
from tests.training.worlds import ARMS, features_of, success_rates
from training.fit.feature_scale import fit_scale
from training.fit.folds import grouped_folds
from training.fit.reward_models import (
    MIN_HEAD_ROWS,
    FittedHeads,
    Regularisation,
    fit_heads,
    refit_heads,
)


def fitted(n: int = 1_500, *, seed: int = 0) -> tuple[FittedHeads, np.ndarray, np.ndarray]:
    """Heads of a world with a learnable quality, a learnable latency and a constant step count."""
    rng = np.random.default_rng(seed)
    features = features_of(n, rng)
    rates = success_rates(features)
    values = np.full((n, 3, 3), np.nan)
    values[:, :, 0] = rng.random((n, 3)) < rates
    values[:, :, 1] = 2.0 + features[:, [1]] + 0.1 * rng.normal(size=(n, 3))
    values[:, :, 2] = np.arange(3)
    scaled = fit_scale(features).apply(features)
    folds = grouped_folds(np.arange(n), 5, seed)
    return fit_heads(scaled, values, folds, ARMS, ("quality", "latency_s", "steps")), scaled, rates


def test_links_follow_the_kind_of_metric() -> None:
    heads, _, _ = fitted()
    assert heads.heads.links.tolist() == [LOGISTIC, IDENTITY, IDENTITY]


def test_expectations_come_near_the_truth() -> None:
    """Per-arm constants are off by 0.16 on average where rates depend on the query."""
    heads, scaled, rates = fitted()
    error = np.abs(heads.heads.expected(scaled)[:, :, 0] - rates)
    assert error[:, [0, 2]].mean() < 0.05


def test_a_head_that_learns_nothing_keeps_its_arms_mean() -> None:
    heads, _, _ = fitted()
    kept = {(score.arm, score.metric): score.regularisation for score in heads.scores}
    assert kept["none", "quality"] is not None
    assert kept["single", "quality"] is None  # its rate is the same for every query
    assert kept["multi", "steps"] is None
    np.testing.assert_allclose(heads.heads.intercepts[:, 2], [0.0, 1.0, 2.0], atol=1e-9)


def test_the_same_seed_gives_the_same_heads() -> None:
    one, two = fitted()[0].heads, fitted()[0].heads
    np.testing.assert_array_equal(one.coefficients, two.coefficients)
    np.testing.assert_array_equal(one.intercepts, two.intercepts)


def test_a_fraction_counts_as_a_share_of_a_success() -> None:
    n = 400
    rng = np.random.default_rng(0)
    features = features_of(n, rng)
    share = success_rates(features)[:, [0]]
    scaled = fit_scale(features).apply(features)
    heads = fit_heads(
        scaled, share[:, :, None], grouped_folds(np.arange(n), 5, 0), ("none",), ("quality",)
    ).heads
    assert np.abs(heads.expected(scaled)[:, 0, 0] - share[:, 0]).mean() < 0.02


def test_few_rows_are_not_learned_from() -> None:
    n = MIN_HEAD_ROWS - 1
    rng = np.random.default_rng(0)
    features = features_of(n, rng)
    values = (rng.random((n, 3, 1)) < success_rates(features)[:, :, None]).astype(float)
    scaled = fit_scale(features).apply(features)
    heads = fit_heads(scaled, values, grouped_folds(np.arange(n), 5, 0), ARMS, ("quality",))
    assert not heads.heads.coefficients.any()


def test_arms_that_never_failed_or_were_never_seen_stay_finite() -> None:
    values = np.ones((100, 3, 1))
    values[:, 2] = np.nan
    rng = np.random.default_rng(0)
    scaled = fit_scale(features_of(100, rng)).apply(features_of(100, rng))
    heads = fit_heads(scaled, values, grouped_folds(np.arange(100), 5, 0), ARMS, ("quality",)).heads
    expected = heads.expected(scaled)[0, :, 0]
    assert expected[:2] == pytest.approx(1.0, abs=0.01)
    assert expected[2] == pytest.approx(0.5)


def test_refitting_with_the_chosen_settings_gives_the_same_heads() -> None:
    rng = np.random.default_rng(0)
    features = features_of(600, rng)
    values = (rng.random((600, 3, 1)) < success_rates(features)[:, :, None]).astype(float)
    scaled = fit_scale(features).apply(features)
    first = fit_heads(scaled, values, grouped_folds(np.arange(600), 5, 0), ARMS, ("quality",))
    settings: dict[str, dict[str, float | None]] = {}
    for score in first.scores:
        settings.setdefault(score.arm, {})[score.metric] = score.regularisation
    again = refit_heads(scaled, values, ARMS, ("quality",), Regularisation(settings, 0.3, 30.0))
    np.testing.assert_array_equal(again.coefficients, first.heads.coefficients)
    np.testing.assert_array_equal(again.intercepts, first.heads.intercepts)
