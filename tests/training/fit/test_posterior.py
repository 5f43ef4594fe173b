"""The fitted posterior: the textbook's formula, honest variances, and what it does without data."""

import numpy as np
import pytest

import training.fit.posterior as fitting
from training.fit.feature_scale import FeatureScale
from training.fit.posterior import PENALTIES, fit_posterior

DIMENSION = 8


def identity() -> FeatureScale:
    return FeatureScale(np.zeros(DIMENSION), np.ones(DIMENSION))


def draws(n: int, seed: int, *, arms: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (n, d), values (n, A, 1) of one arm each, and the slopes (A, d) behind them."""
    rng = np.random.default_rng(seed)
    scaled = rng.normal(size=(n, DIMENSION))
    slopes = 0.1 * rng.normal(size=(arms, DIMENSION))
    values = np.full((n, arms, 1), np.nan)
    drawn = rng.integers(arms, size=n)
    rows = np.arange(n)
    values[rows, drawn, 0] = (scaled * slopes[drawn]).sum(axis=1) + rng.normal(size=n)
    return scaled, values, slopes


def test_it_is_ridge_regression_on_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "PENALTIES", (100.0,))
    monkeypatch.setattr(fitting, "_PRIOR_ROWS", 0.0)
    monkeypatch.setattr(fitting, "_NOISE_ROWS", 0.0)
    scaled, values, _ = draws(300, 0)
    beliefs = fit_posterior(scaled, values, identity()).beliefs(scaled.astype(np.float32))
    for arm in range(2):
        known = ~np.isnan(values[:, arm, 0])
        z = scaled[known] - scaled[known].mean(axis=0)
        y = values[known, arm, 0]
        inverse = np.linalg.inv(z.T @ z + 100.0 * np.eye(DIMENSION))
        slopes = inverse @ z.T @ (y - y.mean())
        apart = scaled - scaled[known].mean(axis=0)
        np.testing.assert_allclose(
            beliefs.means[:, arm, 0], y.mean() + apart @ slopes, rtol=1e-3, atol=1e-4
        )
        left = ((y - y.mean() - z @ slopes) ** 2).sum() + 100.0 * (slopes**2).sum()
        spread = 1.0 / len(y) + np.einsum("nd,de,ne->n", apart, inverse, apart)
        np.testing.assert_allclose(beliefs.variances[:, arm, 0], left / len(y) * spread, rtol=1e-3)


def test_few_directions_lose_little_of_the_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    scaled, values, _ = draws(400, 1)
    scaled[:, :3] *= 10.0  # what most of the variance of features lies along
    features = scaled.astype(np.float32)
    whole = fit_posterior(scaled, values, identity()).beliefs(features).variances
    monkeypatch.setattr(fitting, "DIRECTIONS", 3)
    compact = fit_posterior(scaled, values, identity()).beliefs(features).variances
    np.testing.assert_allclose(compact, whole, rtol=0.1)


def test_the_variance_is_as_large_as_the_errors_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Null: under the prior that the slopes come from (a penalty of 1 / .1² = 100), standardised
    errors have a mean square of 1. Over 100 worlds their average has a standard error of about .06:
    .2 is allowed, an error rate below .001. Where the evidence has to pick the penalty it is at
    times too heavy, and the mean square 1.5: doubt about the penalty isn't in the variance.
    """
    monkeypatch.setattr(fitting, "PENALTIES", (100.0,))
    squares = []
    for seed in range(100):
        scaled, values, slopes = draws(240, seed)
        fresh = np.random.default_rng([seed, 1]).normal(size=(40, DIMENSION))
        beliefs = fit_posterior(scaled, values, identity()).beliefs(fresh.astype(np.float32))
        errors = beliefs.means[:, :, 0] - fresh @ slopes.T
        squares.append((errors**2 / beliefs.variances[:, :, 0]).mean())
    assert 0.8 < np.mean(squares) < 1.2, np.std(squares) / 10


def test_an_arm_that_was_drawn_less_is_believed_less_surely() -> None:
    scaled, values, _ = draws(600, 2)
    values[60:, 1] = np.nan
    variances = fit_posterior(scaled, values, identity()).beliefs(scaled.astype(np.float32))[1]
    assert (variances[:, 1] > 1.5 * variances[:, 0]).all()


def test_an_arm_without_draws_has_the_overall_mean_and_the_widest_belief() -> None:
    scaled, values, _ = draws(300, 3, arms=3)
    values[:, 2] = np.nan
    beliefs = fit_posterior(scaled, values, identity()).beliefs(scaled.astype(np.float32))
    np.testing.assert_allclose(beliefs.means[:, 2, 0], np.nanmean(values), atol=1e-6)
    assert (beliefs.variances[:, 2, 0] > 10.0 * beliefs.variances[:, 0, 0]).all()
    assert (beliefs.variances[:, 2, 0] > 0.5).all()


def test_a_metric_that_is_reported_less_often_is_believed_less_surely() -> None:
    scaled, values, _ = draws(600, 4)
    rarely = values.copy()
    rarely[120:] = np.nan
    both = np.concatenate([values, rarely], axis=2)
    variances = fit_posterior(scaled, both, identity()).beliefs(scaled.astype(np.float32))[1]
    assert (variances[:, :, 1] > 1.5 * variances[:, :, 0]).all()


def test_a_metric_that_nobody_reported_is_what_was_expected_of_it() -> None:
    scaled, values, _ = draws(300, 5)
    both = np.concatenate([values, np.full(values.shape, np.nan)], axis=2)
    expected = np.array([[0.0, 0.25], [0.0, 0.75]])
    beliefs = fit_posterior(scaled, both, identity(), expected).beliefs(scaled.astype(np.float32))
    np.testing.assert_allclose(beliefs.means[:, :, 1], np.tile([0.25, 0.75], (300, 1)), atol=1e-6)
    assert (beliefs.variances[:, :, 1] < 1e-9).all()


def test_without_a_signal_the_heaviest_penalty_is_most_likely() -> None:
    rng = np.random.default_rng(6)
    scaled = rng.normal(size=(400, DIMENSION))
    coefficients = fit_posterior(scaled, rng.normal(size=(400, 2, 1)), identity()).parts[0]
    ridge = np.linalg.solve(
        scaled.T @ scaled + PENALTIES[-1] * np.eye(DIMENSION), scaled.T @ rng.normal(size=400)
    )
    assert np.abs(coefficients).max() < 4.0 * np.abs(ridge).max()
