"""Tenants' effects: unbiased, with errors that are as large as they say."""

import numpy as np

from training.fit.tenant_effects import (
    MIN_DRAWS,
    Effects,
    TenantRows,
    tenant_effects,
    tenant_sums,
)

N = 600


def rows_of(seed: int, *, propensity: float = 1 / 3, repeats: int = 1) -> TenantRows:
    """Tenants 0 and 1: arm 1 of two succeeds 0.2 less often than expected, for tenant 1 alone."""
    rng = np.random.default_rng(seed)
    tenants = np.arange(N) % 2
    scores = np.full((N, 2, 1), 0.5)
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
        gamma=gamma,
        inverse=inverse,
        usable=np.ones((N, 2), dtype=np.bool_),
    )


def effects_of(rows: TenantRows, count: int) -> Effects:
    return tenant_effects(tenant_sums(rows, count))


def test_effects_are_unbiased_and_their_errors_as_large_as_stated() -> None:
    found = [effects_of(rows_of(seed), 2) for seed in range(200)]
    estimates = np.array([effects.estimate[:, :, 0] for effects in found])
    stated = np.array([effects.variance[:, :, 0] for effects in found])
    np.testing.assert_allclose(estimates.mean(axis=0), [[0.0, 0.0], [0.0, -0.2]], atol=0.05)
    spread = estimates.std(axis=0)
    np.testing.assert_allclose(np.sqrt(stated.mean(axis=0)), spread, rtol=0.25)


def test_repeated_queries_count_once() -> None:
    once, often = effects_of(rows_of(0), 2), effects_of(rows_of(0, repeats=10), 2)
    assert (often.variance[:, 0] > 3.0 * once.variance[:, 0]).all()


def test_an_arm_with_too_few_draws_has_no_estimate() -> None:
    rows = rows_of(0, propensity=0.03)
    draws = [(rows.inverse[rows.tenants == tenant, 1, 0] > 0.0).sum() for tenant in (0, 1)]
    assert max(draws) < MIN_DRAWS
    effects = effects_of(rows, 2)
    assert np.isinf(effects.variance[:, 1]).all()
    assert not effects.estimate[:, 1].any()
    assert np.isfinite(effects.variance[:, 0]).all()


def test_rounding_errors_are_no_effects() -> None:
    rows = rows_of(0)
    exact = rows._replace(gamma=rows.scores + np.where(rows.inverse > 0.0, 1e-13, 0.0))
    assert np.isinf(effects_of(exact, 2).variance).all()


def test_rows_of_nobody_count_for_nobody() -> None:
    rows = rows_of(0)
    mine = rows.tenants == 0
    alone = effects_of(TenantRows(*(part[mine] for part in rows)), 1)
    others = effects_of(rows._replace(tenants=np.where(mine, 0, -1)), 1)
    np.testing.assert_allclose(others.estimate, alone.estimate)
    np.testing.assert_allclose(others.variance, alone.variance)


def test_the_sums_of_a_logs_parts_add_up_to_the_logs() -> None:
    """No query of a tenant lies in both parts."""
    rows = rows_of(0, repeats=10)
    first = np.arange(N) < N // 2
    parts = [tenant_sums(TenantRows(*(x[mine] for x in rows)), 2) for mine in (first, ~first)]
    added, whole = tenant_effects(parts[0].plus(parts[1])), effects_of(rows, 2)
    np.testing.assert_allclose(added.estimate, whole.estimate)
    np.testing.assert_allclose(added.variance, whole.variance)
