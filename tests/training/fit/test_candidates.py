"""Candidates from sums: what is fitted, and that it is what rows would have given."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from policies.linear_policy import IDENTITY
from training.fit.candidates import JOINT, Evidence, Recipe, fit_candidates, recipes
from training.fit.heads import Heads
from training.fit.ridge import Ridges
from training.fit.row_sums import RowSums

ROWS, ARMS, METRICS, DIMENSION = 400, 3, 2, 12


def world(*, masked: bool = False) -> tuple[Evidence, np.ndarray, np.ndarray, np.ndarray]:
    """The evidence, and behind it rows x (n, d), pseudo-outcomes (n, A, M), usable (n, A)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, DIMENSION)) + 0.3
    gamma = rng.normal(size=(ROWS, ARMS, METRICS)) + x[:, :1, None]
    expected = np.einsum("nd,dam->nam", x, rng.normal(size=(DIMENSION, ARMS, METRICS)))
    usable = np.ones((ROWS, ARMS), dtype=np.bool_)
    if masked:
        usable[:150, 1] = False
    on = gamma * usable[:, :, None]
    told = expected * usable[:, :, None]
    sums = RowSums.of(x)
    arms = [sums if usable[:, a].all() else RowSums.of(x[usable[:, a]]) for a in range(ARMS)]
    nothing = np.zeros((ARMS, METRICS, DIMENSION)), np.zeros((ARMS, METRICS))
    evidence = Evidence(
        rows=float(ROWS),
        usable=Ridges(arms),
        told=Ridges(arms),
        xy=np.einsum("nd,nam->dam", x, on),
        y=on.sum(axis=0),
        yy=(on**2).sum(axis=0),
        x_expected=np.einsum("nd,nam->dam", x, told),
        expected=told.sum(axis=0),
        supported=np.ones(ARMS, dtype=np.bool_),
        signs=np.ones(METRICS),
        joint=Heads(*nothing, np.full(METRICS, IDENTITY, dtype=np.int8)),
        tells_apart=True,
        some=x,
    )
    return evidence, x, gamma, usable


def test_candidates_start_with_the_simplest_and_hold_the_default() -> None:
    evidence, _, gamma, _ = world()
    wanted = recipes(False)
    assert wanted[0] == Recipe("context_free")
    assert JOINT in wanted
    assert not any(recipe.kind == "residual" for recipe in wanted)
    assert any(recipe.kind == "residual" for recipe in recipes(True))
    [(_, heads)] = fit_candidates(evidence, wanted[:1])
    np.testing.assert_allclose(heads.intercepts, gamma.mean(axis=0))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("alpha", [30.0, 3_000.0])
def test_learned_heads_are_scikit_learns_ridge_regression(masked: bool, alpha: float) -> None:
    evidence, x, gamma, usable = world(masked=masked)
    [(_, heads)] = fit_candidates(evidence, [Recipe("learned", alpha)])
    for arm in range(ARMS):
        mine = usable[:, arm]
        model = Ridge(alpha=alpha).fit(x[mine], gamma[mine, arm])
        np.testing.assert_allclose(heads.coefficients[arm], model.coef_, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(heads.intercepts[arm], model.intercept_, rtol=1e-9)


def test_residual_heads_correct_what_the_incumbent_expects() -> None:
    """A ridge regression of what is left over the incumbent's heads, added to them."""
    evidence, x, gamma, _ = world()
    [(_, heads)] = fit_candidates(evidence, [Recipe("residual", 100.0)])
    base = evidence.distil()
    left = (gamma - base.expected(x)).reshape(ROWS, -1)
    model = Ridge(alpha=100.0).fit(x, left)
    wanted = base.coefficients.reshape(-1, DIMENSION) + model.coef_
    np.testing.assert_allclose(heads.coefficients.reshape(-1, DIMENSION), wanted, rtol=1e-8)


def test_an_unsupported_arm_is_expected_worse_than_any_other() -> None:
    evidence, x, _, _ = world(masked=True)
    poor = np.array([True, False, True])
    for sign in (1.0, -1.0):
        judged = Evidence(**{**evidence.__dict__, "supported": poor, "signs": np.full(2, sign)})
        for _, heads in fit_candidates(judged, recipes(True)):
            expected = sign * heads.expected(x)
            assert (expected[:, 1] < expected[:, [0, 2]].min(axis=1)).all()
            assert np.ptp(expected[:, 1], axis=0).max() == 0.0
