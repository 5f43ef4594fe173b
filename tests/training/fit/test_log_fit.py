"""Learning from logs: what is learned, what is left alone, and how one candidate is chosen."""

import dataclasses

import numpy as np
import pytest

from tests.training.fit.fitting import fit_from_rounds
from tests.training.worlds import features_of, prefer, rounds_of, success_rates
from training.fit.candidates import MIN_ARM_ROWS
from training.fit.cluster_sums import ClusterSums
from training.fit.log_fit import LogFit, clearly_best
from training.fit.training_rows import WarmRows
from training.log.rounds import LoggedRounds


def true_value(fit: LogFit, seed: int = 99) -> float:
    """What the learned heads would truly earn, greedily, on new queries."""
    features = features_of(5_000, np.random.default_rng(seed))
    expected = fit.heads.expected(fit.scale.apply(features))[:, :, 0]
    rates = success_rates(features)
    return float(rates[np.arange(len(rates)), expected.argmax(axis=1)].mean())


def fit(rounds: LoggedRounds, *, seed: int = 0) -> LogFit:
    return fit_from_rounds(rounds, seed=seed)


@pytest.mark.parametrize("epsilon", [1.0, 0.3])
def test_it_learns_which_query_goes_where(epsilon: float) -> None:
    """The best fixed arm earns 0.50 here, knowing the rates 0.64."""
    rng = np.random.default_rng(0)
    rounds = rounds_of(4_000, rng, probabilities=prefer(1, 4_000, epsilon))
    assert true_value(fit(rounds)) > 0.60


def test_the_same_seed_gives_the_same_heads() -> None:
    rounds = rounds_of(600, np.random.default_rng(0))
    one, two = fit(rounds), fit(rounds)
    np.testing.assert_array_equal(one.heads.coefficients, two.heads.coefficients)
    assert one.chosen == two.chosen


def test_where_queries_tell_nothing_it_stays_near_the_best_arm() -> None:
    """Null: nothing to learn. Each of 8 policies earns within 0.02 of always the best arm."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rates = np.tile([0.3, 0.4, 0.6], (2_000, 1))
        learned = fit(rounds_of(2_000, rng, rates=rates), seed=seed)
        features = features_of(2_000, rng)
        taken = learned.heads.expected(learned.scale.apply(features))[:, :, 0].argmax(axis=1)
        assert rates[np.arange(2_000), taken].mean() > 0.58


def test_an_arm_with_few_draws_is_never_taken() -> None:
    """At a propensity of 0.02 luck makes a bad arm look best; such an arm isn't used at all."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rates = np.tile([0.35, 0.40, 0.42], (1_500, 1))
        rounds = rounds_of(1_500, rng, probabilities=prefer(2, 1_500, 0.06), rates=rates)
        learned = fit(rounds, seed=seed)
        assert learned.draws["none"] < MIN_ARM_ROWS
        expected = learned.heads.expected(learned.scale.apply(rounds.features))[:, :, 0]
        assert (expected.argmax(axis=1) == 2).all()


def test_warm_rows_teach_an_arm_that_the_log_never_drew() -> None:
    rng = np.random.default_rng(0)
    features = features_of(1_500, rng)
    rates = success_rates(features)
    values = (rng.random(rates.shape) < rates).astype(np.float64)[:, :, None]
    warm = WarmRows(features, values, [f"warm-{row}" for row in range(1_500)])
    rounds = rounds_of(1_500, rng, probabilities=prefer(1, 1_500, 0.02))
    alone = fit(rounds)
    helped = fit_from_rounds(rounds, warm=warm)
    assert true_value(alone) < 0.52
    assert true_value(helped) > 0.58


def test_an_incumbent_that_tells_queries_apart_is_corrected() -> None:
    rng = np.random.default_rng(0)
    rounds = rounds_of(1_000, rng)
    expected = success_rates(rounds.features)[:, :, None]
    told = fit(dataclasses.replace(rounds, expected=expected))
    assert any(candidate.name.startswith("residual") for candidate in told.candidates)
    assert not any(c.name.startswith("residual") for c in fit(rounds).candidates)


def test_every_fixed_arm_and_the_incumbent_are_reported() -> None:
    rounds = rounds_of(1_000, np.random.default_rng(0))
    found = fit(rounds)
    assert [arm.name for arm in found.fixed_arms] == list(rounds.arms)
    assert found.incumbent_value == pytest.approx(rounds.values.mean(), abs=0.05)


def test_an_arm_masked_by_rules_is_learned_where_it_was_eligible() -> None:
    rng = np.random.default_rng(0)
    rounds = rounds_of(3_000, rng)
    masked = rng.random(3_000) < 0.5
    probabilities = np.where(masked[:, None], [0.5, 0.5, 0.0], 1 / 3)
    action = (rng.random(3_000)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    rows = np.arange(3_000)
    reward = (rng.random(3_000) < success_rates(rounds.features)[rows, action]).astype(float)
    rounds = dataclasses.replace(
        rounds,
        probabilities=probabilities,
        eligible=probabilities > 0.0,
        action=action,
        pscore=probabilities[rows, action],
        values=reward[:, None],
    )
    assert true_value(fit(rounds)) > 0.58


def test_a_metric_never_reported_keeps_what_the_serving_policy_expected() -> None:
    rounds = rounds_of(600, np.random.default_rng(0))
    cost = np.broadcast_to([0.1, 0.2, 0.3], (600, 3))
    rounds = dataclasses.replace(
        rounds,
        metrics=("quality", "cost_usd"),
        values=np.column_stack([rounds.values, np.full(600, np.nan)]),
        expected=np.stack([np.full((600, 3), 0.5), cost], axis=2),
        weights=np.tile([1.0, -1.0], (600, 1)),
    )
    learned = fit(rounds)
    expected = learned.heads.expected(learned.scale.apply(rounds.features))
    np.testing.assert_allclose(expected[:, :, 1], cost, atol=1e-6)


def test_the_default_is_kept_unless_another_is_clearly_better() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=500)
    groups = np.arange(500)
    slightly = base + 0.01 + rng.normal(size=500)
    clearly = base + 0.5 + rng.normal(size=500)

    def best(values: list[np.ndarray], default: int) -> int:
        ahead = np.array(values).T - values[default][:, None]
        return clearly_best(ClusterSums.of(ahead, groups), default)

    assert best([base, slightly], 0) == 0
    assert best([slightly, base, clearly], 1) == 2
    assert best([base, base], 1) == 1
