"""Shrinkage of noisy effects: how far, towards what, and when all the way."""

import numpy as np
import pytest

from training.fit.shrinkage import Spread, fit_spread, shrunk


def noisy(
    seed: int, tenants: int, *, common: float, by_arm: float, error: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True effects (T, 3), what is seen of them, and the variances of the errors."""
    rng = np.random.default_rng(seed)
    true = rng.normal(scale=common, size=(tenants, 1)) + rng.normal(scale=by_arm, size=(tenants, 3))
    return true, true + rng.normal(scale=error, size=true.shape), np.full(true.shape, error**2)


def test_a_single_spread_shrinks_by_the_textbook_factor() -> None:
    effects, variances = np.array([[0.4, -0.2]]), np.array([[0.04, 0.01]])
    found = shrunk(effects, variances, Spread(0.0, 0.2))
    np.testing.assert_allclose(found, effects * 0.04 / (0.04 + variances))


def test_a_common_spread_is_the_posterior_mean_of_the_joint_normal() -> None:
    effects, variances = np.array([[0.4, -0.2, 0.1]]), np.array([[0.04, 0.01, 0.02]])
    spread = Spread(0.3, 0.2)
    prior = spread.common**2 + np.eye(3) * spread.by_arm**2
    want = prior @ np.linalg.solve(prior + np.diag(variances[0]), effects[0])
    np.testing.assert_allclose(shrunk(effects, variances, spread)[0], want)


def test_an_unknown_effect_gets_what_its_tenants_others_have_in_common() -> None:
    effects, variances = np.array([[0.3, 0.3, 0.0]]), np.array([[0.01, 0.01, np.inf]])
    found = shrunk(effects, variances, Spread(0.3, 0.1))[0]
    assert 0.2 < found[2] < found[0] < 0.3
    assert shrunk(effects, variances, Spread(0.0, 0.1))[0, 2] == 0.0


@pytest.mark.parametrize(("common", "by_arm"), [(0.3, 0.1), (0.0, 0.2), (0.2, 0.0)])
def test_spreads_are_recovered(common: float, by_arm: float) -> None:
    _, effects, variances = noisy(0, 300, common=common, by_arm=by_arm, error=0.05)
    found = fit_spread(effects, variances)
    assert found.common == pytest.approx(common, abs=0.05)
    assert found.by_arm == pytest.approx(by_arm, abs=0.03)


def test_noise_alone_is_shrunk_to_nothing() -> None:
    """Null: no effects. Each of two tests at 5 % errs: in 200 samples at most 29 do (p > 0.99)."""
    wrong = 0
    for seed in range(200):
        _, effects, variances = noisy(seed, 12, common=0.0, by_arm=0.0, error=0.1)
        found = shrunk(effects, variances, fit_spread(effects, variances))
        wrong += bool(found.any())
    assert wrong <= 29


def test_shrunken_effects_err_less_than_raw_ones_and_than_none() -> None:
    errors = np.zeros(3)
    for seed in range(50):
        true, effects, variances = noisy(seed, 12, common=0.1, by_arm=0.1, error=0.1)
        found = shrunk(effects, variances, fit_spread(effects, variances))
        errors += [((guess - true) ** 2).mean() for guess in (found, effects, 0.0 * true)]
    assert errors[0] < 0.8 * errors[1:].min()


def test_one_tenant_tells_nothing_of_the_spread() -> None:
    assert fit_spread(np.array([[0.5, -0.5]]), np.full((1, 2), 0.01)) == Spread(0.0, 0.0)
