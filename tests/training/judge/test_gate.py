"""The gate: promotes what is proven better, refuses the rest, and says why."""

import dataclasses

import numpy as np
import pytest

from policies.errors import ObjectiveError, PolicyFitError
from policies.exploration import GREEDY, Exploration
from tests.training.worlds import always, knowing, prefer, rounds_of
from training.judge.gate import Condition, Verdict, judge
from training.log.rounds import LoggedRounds


def log(n: int = 4_000, seed: int = 0, **settings: object) -> LoggedRounds:
    return rounds_of(n, np.random.default_rng(seed), **settings)  # type: ignore[arg-type]


def condition(verdict: Verdict, name: str) -> Condition:
    [found] = [c for c in verdict.conditions if c.name == name]
    return found


def test_a_policy_that_knows_better_is_promoted() -> None:
    verdict = judge(log(), knowing())
    assert verdict.promote
    assert all(c.passed for c in verdict.conditions)
    assert verdict.refusals() == []
    assert verdict.advantage is not None
    assert verdict.advantage.value > 0.05


def test_a_worse_policy_is_refused_and_more_data_is_no_promise() -> None:
    rates = np.tile([0.6, 0.5, 0.3], (4_000, 1))
    verdict = judge(log(rates=rates, probabilities=prefer(0, 4_000, 0.5)), always(2))
    assert not verdict.promote
    assert not condition(verdict, "advantage").passed
    assert condition(verdict, "advantage").more_rows is None
    assert not condition(verdict, "guardrail quality").passed


def test_a_small_advantage_is_refused_with_the_rows_that_would_settle_it() -> None:
    rates = np.tile([0.50, 0.50, 0.53], (4_000, 1))
    found = condition(judge(log(rates=rates), always(2), exploration=GREEDY), "advantage")
    assert not found.passed
    assert found.more_rows is not None
    assert found.more_rows > 1_000


@pytest.mark.slow
def test_promotions_of_an_equal_policy_are_rare() -> None:
    """Null: candidate and incumbent are worth the same; a promotion is an error of at most 2.5 %.
    More than 13 of 200 would be seen once in 1,000 runs.
    """
    promoted = 0
    for seed in range(200):
        rates = np.full((1_500, 3), 0.5)
        verdict = judge(log(1_500, seed, rates=rates), always(2), exploration=Exploration())
        promoted += condition(verdict, "advantage").passed
    assert promoted <= 13


def test_too_few_effective_rounds_are_refused() -> None:
    verdict = judge(log(1_500, probabilities=prefer(1, 1_500, 0.3)), knowing())
    found = condition(verdict, "effective sample size")
    assert not found.passed
    assert found.more_rows is not None
    assert found.more_rows > 0


def test_an_arm_it_uses_needs_draws() -> None:
    rounds = log(3_000, probabilities=prefer(1, 3_000, 0.1))
    found = condition(judge(rounds, knowing()), "support")
    assert not found.passed
    assert found.more_rows is not None
    assert condition(judge(rounds, always(1)), "support").passed


def test_unreported_rounds_dont_count_as_support() -> None:
    rounds = log(1_000)
    values = rounds.values.copy()
    values[200:] = np.nan
    found = condition(judge(dataclasses.replace(rounds, values=values), knowing()), "support")
    assert not found.passed


def test_the_candidates_own_training_rounds_are_left_out() -> None:
    assert judge(log(), knowing(window=[0.0, 999.0])).rows == 3_000
    nothing = judge(log(), knowing(window=[0.0, 9_999.0]))
    assert not nothing.promote
    assert nothing.rows == 0
    assert condition(nothing, "unseen rounds").more_rows == 1_000


def test_rounds_without_exploration_are_left_out() -> None:
    rounds = log(2_000)
    probabilities, pscore = rounds.probabilities.copy(), rounds.pscore.copy()
    probabilities[:500] = np.eye(3)[rounds.action[:500]]
    pscore[:500] = 1.0
    greedy = dataclasses.replace(rounds, probabilities=probabilities, pscore=pscore)
    assert judge(greedy, knowing()).rows == 1_500


def test_a_tenant_that_would_lose_is_protected() -> None:
    n = 6_000
    rates = np.tile([0.3, 0.3, 0.6], (n, 1))
    rates[::2] = [0.6, 0.3, 0.3]  # every second round is tenant "a", better off with arm 0
    rates[1::2, 2] = 0.9
    probabilities = np.tile([0.4, 0.2, 0.4], (n, 1))
    rounds = log(n, rates=rates, probabilities=probabilities, tenants=("a", "b"))
    verdict = judge(rounds, always(2), exploration=GREEDY)
    assert condition(verdict, "advantage").passed
    assert not condition(verdict, "slices").passed
    assert "a -" in condition(verdict, "slices").detail
    assert not verdict.promote


def test_a_guardrail_tolerates_what_it_is_told_to() -> None:
    rates = np.tile([0.6, 0.5, 0.45], (4_000, 1))
    rounds = log(rates=rates)
    strict = judge(rounds, always(2), exploration=GREEDY, guardrails={"quality": 0.0})
    loose = judge(rounds, always(2), exploration=GREEDY, guardrails={"quality": 0.2})
    assert not condition(strict, "guardrail quality").passed
    assert condition(loose, "guardrail quality").passed


def test_wrong_propensities_are_refused() -> None:
    rounds = log(3_000, probabilities=np.tile([0.5, 0.3, 0.2], (3_000, 1)))
    lying = np.full((3_000, 3), 1 / 3)
    broken = dataclasses.replace(rounds, probabilities=lying, pscore=np.full(3_000, 1 / 3))
    assert condition(judge(rounds, always(0)), "propensities").passed
    assert not condition(judge(broken, always(0)), "propensities").passed


def test_the_objective_may_be_overridden_but_not_invented() -> None:
    assert judge(log(), knowing(), {"quality": 1.0}).promote
    with pytest.raises(ObjectiveError, match=r"no metric 'qualty' \(did you mean 'quality'\?\)"):
        judge(log(), knowing(), {"qualty": 1.0})


def test_a_policy_that_doesnt_fit_the_log_is_refused() -> None:
    with pytest.raises(PolicyFitError, match="reads features 'test-1', the log has 'test-2'"):
        judge(dataclasses.replace(log(), feature_version="test-2"), knowing())
    with pytest.raises(PolicyFitError, match="doesn't know the log's arms new"):
        judge(dataclasses.replace(log(), arms=("none", "single", "new")), knowing())


@pytest.mark.parametrize("seed", range(3))
def test_less_exploration_alone_promotes_nobody(seed: int) -> None:
    """The incumbent over again earns more than as logged, since it would explore less now."""
    rates = np.tile([0.6, 0.5, 0.3], (4_000, 1))
    rounds = log(seed=seed, rates=rates, probabilities=prefer(0, 4_000, 0.3))
    verdict = judge(rounds, always(0))
    assert not verdict.promote
    assert not condition(verdict, "better choices").passed


def test_only_the_policy_that_served_last_is_the_incumbent() -> None:
    """Better than a bad old policy mixed with a good new one isn't better than the new one."""
    rates = np.tile([0.6, 0.5, 0.2], (8_000, 1))
    old, new = prefer(2, 4_000, 0.3), prefer(0, 4_000, 0.3)
    versions = np.array(["old"] * 4_000 + ["new"] * 4_000, dtype=object)
    rounds = log(8_000, rates=rates, probabilities=np.concatenate([old, new]))
    rounds = dataclasses.replace(rounds, policy_versions=versions)
    verdict = judge(rounds, always(1))
    assert verdict.rows == 4_000
    assert not verdict.promote


def test_a_guardrail_that_cannot_be_checked_says_so() -> None:
    rounds = dataclasses.replace(log(), metrics=("thumbs",))
    found = condition(judge(rounds, knowing(), {"thumbs": 1.0}), "guardrail quality")
    assert found.passed
    assert "never reported" in found.detail
