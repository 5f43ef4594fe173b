"""Members of a blend: what each family learns, and what too few rows give."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests.training.worlds import features_of, success_rates
from training.fit.feature_scale import fit_scale
from training.fit.members import FAMILIES, LINEAR, MIN_HEAD_ROWS, fit_members

METRICS = 2


def world(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = features_of(n, rng)
    rates = success_rates(features)
    values = np.stack([rng.random((n, 3)) < rates, rates + 2.0], axis=2).astype(np.float64)
    return features, values, rates


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_comes_near_the_truth(family: str) -> None:
    """Arms' means are off by 0.087 on average in this world."""
    features, values, rates = world(2_000)
    fresh = features_of(500, np.random.default_rng(9))
    errors = [
        np.abs(member.expected(fresh)[:, :, 0] - success_rates(fresh)).mean()
        for member in fit_members(features, values, seed=0, families=[family])
    ]
    assert min(errors) < 0.05
    assert np.abs(rates.mean(axis=0) - success_rates(fresh)).mean() > 0.08


def test_the_linear_family_is_ridge_regression() -> None:
    features, values, _ = world(300)
    [first, *_] = fit_members(features, values, seed=0, families=[LINEAR])
    scaled = fit_scale(features).apply(features)
    ridge = Ridge(alpha=first.penalty).fit(scaled, values.reshape(300, -1))
    np.testing.assert_allclose(
        first.expected(features).reshape(300, -1), ridge.predict(scaled), atol=1e-8
    )


def test_a_head_is_fitted_on_the_rows_that_have_it() -> None:
    features, values, _ = world(600)
    holes = values.copy()
    holes[300:, 1, 0] = np.nan
    for member, whole in zip(
        fit_members(features, holes, seed=0, families=[LINEAR]),
        fit_members(features[:300], values[:300], seed=0, families=[LINEAR]),
        strict=True,
    ):
        assert np.isfinite(member.coefficients).all()
        assert member.intercepts[1, 0] == pytest.approx(whole.intercepts[1, 0], abs=0.05)


def test_few_rows_are_not_learned_from() -> None:
    features, values, _ = world(MIN_HEAD_ROWS - 1)
    for member in fit_members(features, values, seed=0):
        assert not member.coefficients.any()
        np.testing.assert_allclose(member.intercepts, values.mean(axis=0))


def test_the_same_seed_gives_the_same_members() -> None:
    features, values, _ = world(400)
    one, two = (fit_members(features, values, seed=3) for _ in range(2))
    assert [member.name for member in one] == [member.name for member in two]
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.coefficients, second.coefficients)
