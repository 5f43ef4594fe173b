"""Tenants' effects: unbiased, with errors that are as large as they say."""

import numpy as np
import pytest

from policies.linear_policy import IDENTITY, LOGISTIC
from training.fit.tenant_effects import MIN_DRAWS, TenantRows, tenant_effects

N = 600


def rows_of(
    seed: int, *, link: int = IDENTITY, propensity: float = 1 / 3, repeats: int = 1
) -> TenantRows:
    """Tenants 0 and 1: arm 1 of two succeeds 0.2 less often than expected, for tenant 1 alone."""
    rng = np.random.default_rng(seed)
    tenants = np.arange(N) % 2
    scores = np.zeros((N, 2, 1)) if link == LOGISTIC else np.full((N, 2, 1), 0.5)
    drawn = (rng.random(N) < propensity).astype(np.intp)
    rates = np.where((tenants == 1) & (drawn == 1), 0.3, 0.5)
    blocks = np.arange(N) // (2 * repeats) * 2 + tenants  # rows of one query and its tenant
    luck = rng.random(N)[np.unique(blocks, return_index=True)[1]]
    values = (luck[np.unique(blocks, return_inverse=True)[1]] < rates).astype(np.float64)
    inverse = np.zeros((N, 2, 1))
    inverse[np.arange(N), drawn, 0] = 1.0 / np.where(drawn == 1, propensity, 1.0 - propensity)
    gamma = 0.5 + inverse * (values[:, None, None] - 0.5)
    return TenantRows(
        tenants=tenants,
        groups=blocks,
        scores=scores,
        links=np.array([link], dtype=np.int8),
        gamma=gamma,
        inverse=inverse,
        usable=np.ones((N, 2), dtype=np.bool_),
    )


@pytest.mark.parametrize(("link", "shift"), [(IDENTITY, -0.2), (LOGISTIC, np.log(0.3 / 0.7))])
def test_effects_are_unbiased_and_their_errors_as_large_as_stated(link: int, shift: float) -> None:
    found = [tenant_effects(rows_of(seed, link=link), 2) for seed in range(200)]
    estimates = np.array([effects.estimate[:, :, 0] for effects in found])
    stated = np.array([effects.variance[:, :, 0] for effects in found])
    np.testing.assert_allclose(estimates.mean(axis=0), [[0.0, 0.0], [0.0, shift]], atol=0.05)
    spread = estimates.std(axis=0)
    np.testing.assert_allclose(np.sqrt(stated.mean(axis=0)), spread, rtol=0.25)


def test_repeated_queries_count_once() -> None:
    once, often = tenant_effects(rows_of(0), 2), tenant_effects(rows_of(0, repeats=10), 2)
    assert (often.variance[:, 0] > 3.0 * once.variance[:, 0]).all()


def test_an_arm_with_too_few_draws_has_no_estimate() -> None:
    rows = rows_of(0, propensity=0.03)
    draws = [(rows.inverse[rows.tenants == tenant, 1, 0] > 0.0).sum() for tenant in (0, 1)]
    assert max(draws) < MIN_DRAWS
    effects = tenant_effects(rows, 2)
    assert np.isinf(effects.variance[:, 1]).all()
    assert not effects.estimate[:, 1].any()
    assert np.isfinite(effects.variance[:, 0]).all()


def test_rounding_errors_are_no_effects() -> None:
    rows = rows_of(0)
    exact = rows._replace(gamma=rows.scores + np.where(rows.inverse > 0.0, 1e-13, 0.0))
    assert np.isinf(tenant_effects(exact, 2).variance).all()


def test_rows_of_nobody_count_for_nobody() -> None:
    rows = rows_of(0)
    mine = rows.tenants == 0
    alone = tenant_effects(rows.rows(mine), 1)
    others = tenant_effects(rows._replace(tenants=np.where(mine, 0, -1)), 1)
    np.testing.assert_allclose(others.estimate, alone.estimate)
    np.testing.assert_allclose(others.variance, alone.variance)
