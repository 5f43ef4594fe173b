"""The curve of spend over cost weight: it falls, and it can be solved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.exploration import GREEDY, Exploration
from policies.spend_curve import Queries, SpendCurve, spend_curve, weight_grid

EXPLORATIONS = [
    GREEDY,
    Exploration(),
    Exploration(gamma=5.0, floor=0.0),
    Exploration(kind="epsilon", epsilon=0.2),
    Exploration(kind="uniform"),
]


def queries_of(n: int, seed: int, arms: int = 3) -> Queries:
    rng = np.random.default_rng(seed)
    eligible = rng.random((n, arms)) < 0.8
    eligible[np.arange(n), rng.integers(arms, size=n)] = True
    costs = rng.choice([0.0, 1.0, 1.0, 3.35], size=(n, arms))
    return Queries(rng.normal(size=(n, arms)).round(1), costs, eligible)


@given(
    st.integers(0, 10_000), st.sampled_from(EXPLORATIONS), st.floats(0.0, 5.0), st.floats(0.0, 5.0)
)
def test_no_query_spends_more_at_a_higher_weight(
    seed: int, exploration: Exploration, one: float, other: float
) -> None:
    queries = queries_of(8, seed)
    low, high = (
        (queries.probabilities(weight, exploration) * queries.costs).sum(axis=1)
        for weight in (min(one, other), max(one, other))
    )
    assert (high <= low + 1e-9).all()


@pytest.mark.parametrize("exploration", EXPLORATIONS[:4])
@pytest.mark.parametrize("target", [1.3, 1.0, 0.7])
def test_the_weight_for_a_target_spends_it(target: float, exploration: Exploration) -> None:
    """Within what interpolation between 50 quantiles of 2,000 queries' own weights leaves."""
    rng = np.random.default_rng(0)
    costs = np.tile([0.0, 1.0, 3.35], (2_000, 1))
    liked = rng.normal(size=(2_000, 3)) * 0.1 + 0.05 * costs
    queries = Queries(liked, costs, np.ones(costs.shape, dtype=np.bool_))
    curve = spend_curve(queries, exploration, points=50)
    weight = curve.weight_for(target)
    spend = (queries.probabilities(weight, exploration) * costs).sum(axis=1).mean()
    assert spend == pytest.approx(target, abs=0.02)


def test_the_least_weight_is_taken_and_the_ends_hold() -> None:
    curve = SpendCurve([0.0, 1.0, 2.0, 4.0], [3.0, 2.0, 2.0, 1.0])
    assert curve.weight_for(5.0) == 0.0
    assert curve.weight_for(3.0) == 0.0
    assert curve.weight_for(2.0) == 1.0
    assert curve.weight_for(1.5) == 3.0
    assert curve.weight_for(0.5) == 4.0


def test_what_is_paid_may_differ_from_what_is_expected() -> None:
    """Choices follow expectations; the spend that is solved for is the real one."""
    rng = np.random.default_rng(1)
    costs = np.tile([0.0, 1.0], (500, 1))
    queries = Queries(rng.normal(size=(500, 2)), costs, np.ones((500, 2), dtype=np.bool_))
    plain = spend_curve(queries, GREEDY, points=50)
    double = spend_curve(queries, GREEDY, points=50, prices=2.0 * costs)
    assert double.spends == pytest.approx([2.0 * spend for spend in plain.spends])
    assert double.weight_for(0.4) == pytest.approx(plain.weight_for(0.2))


@given(st.integers(0, 10_000))
def test_the_grid_rises_from_zero_to_where_only_the_cheapest_is_left(seed: int) -> None:
    queries = queries_of(6, seed)
    grid = weight_grid(queries, 9)
    assert grid[0] == 0.0
    assert (np.diff(grid) > 0.0).all()
    cheapest = np.where(queries.eligible, queries.costs, np.inf).min(axis=1)
    spent = (queries.probabilities(float(grid[-1]), GREEDY) * queries.costs).sum(axis=1)
    assert spent == pytest.approx(cheapest)
