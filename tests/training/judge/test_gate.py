"""The gate: promotes what is proven better, refuses the rest, and says why."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from policies.errors import ObjectiveError, PolicyFitError
from policies.exploration import GREEDY, Exploration
from tests.training.worlds import always, knowing, opposing, prefer, rounds_of
from training.errors import EmptyLogError
from training.judge.gate import Condition, Verdict, judge
from training.judge.judged_policy import incumbent_probabilities, put_on_rounds
from training.log.rounds import LoggedRounds
from training.trained_queries import QUERY_FILTER, query_filter


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


@pytest.mark.parametrize("value", [1.0, 0.3])
def test_nothing_is_proven_by_rounding_where_every_arm_earns_the_same(value: float) -> None:
    rounds = log(probabilities=prefer(1, 4_000, 0.6))
    rounds = dataclasses.replace(rounds, values=np.full((4_000, 1), value))
    for candidate in (knowing(), always(0), always(2)):
        verdict = judge(rounds, candidate, exploration=GREEDY)
        assert not condition(verdict, "advantage").passed
        assert not condition(verdict, "better choices").passed
        assert condition(verdict, "guardrail quality").passed
        assert condition(verdict, "slices").passed
        assert all(piece.better_p >= 0.5 for piece in verdict.slices)


def test_expectations_alone_prove_nothing() -> None:
    """Null: no arm's outcome was ever reported, however well the incumbent thinks of one."""
    rounds = log(8_000, probabilities=prefer(1, 8_000, 0.6))
    expected = np.tile(np.array([[0.6], [0.5], [0.4]]), (8_000, 1, 1))
    silent = np.full((8_000, 1), np.nan)
    rounds = dataclasses.replace(rounds, values=silent, expected=expected)
    verdict = judge(rounds, always(0), exploration=GREEDY)
    assert not verdict.promote
    assert [c.name for c in verdict.conditions if not c.passed] == ["feedback"]


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


def test_a_tenants_own_guardrail_looks_at_its_rounds_alone() -> None:
    n = 6_000
    rates = np.tile([0.3, 0.3, 0.6], (n, 1))
    rates[::2] = [0.6, 0.3, 0.3]
    rates[1::2, 2] = 0.9
    rounds = log(n, rates=rates, probabilities=np.tile([0.4, 0.2, 0.4], (n, 1)), tenants=("a", "b"))
    own = {name: {"quality": 0.0} for name in ("a", "b", "absent")}
    verdict = judge(rounds, always(2), exploration=GREEDY, tenant_guardrails=own)
    assert condition(verdict, "guardrail quality").passed
    assert not condition(verdict, "guardrail quality of tenant a").passed
    assert condition(verdict, "guardrail quality of tenant b").passed
    assert "not checked" in condition(verdict, "guardrail quality of tenant absent").detail
    loose = {"a": {"quality": 0.5}}
    tolerant = judge(rounds, always(2), exploration=GREEDY, tenant_guardrails=loose)
    assert condition(tolerant, "guardrail quality of tenant a").passed


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


def prefer_rates(quality: tuple[float, float, float], n: int = 4_000) -> Any:
    """(n, 3) the same success rates for every query."""
    return np.tile(quality, (n, 1))


def with_cost(rounds: LoggedRounds, cost: tuple[float, float, float]) -> LoggedRounds:
    """The rounds with what each answer cost."""
    noise = np.random.default_rng(0).random(len(rounds)) * 0.1
    values = np.column_stack([rounds.values[:, 0], np.array(cost)[rounds.action] + noise])
    n = len(rounds)
    return dataclasses.replace(
        rounds,
        metrics=("quality", "cost_usd"),
        values=values,
        expected=np.full((n, 3, 2), np.nan),
        weights=np.tile([1.0, 0.0], (n, 1)),
    )


def test_a_guardrail_on_cost_refuses_what_costs_more_not_what_costs_less() -> None:
    """Whether the objective weighs cost or not."""
    rates = prefer_rates((0.4, 0.4, 0.6))
    dear = with_cost(log(rates=rates), (1.0, 1.0, 2.0))
    cheap = with_cost(log(rates=rates), (2.0, 2.0, 1.0))
    for objective in ({"quality": 1.0}, {"quality": 1.0, "cost_usd": -0.01}):
        judged = [
            judge(rounds, always(2), objective, GREEDY, guardrails={"cost_usd": 0.0})
            for rounds in (dear, cheap)
        ]
        assert not condition(judged[0], "guardrail cost_usd").passed
        assert "unlikely" in condition(judged[0], "guardrail cost_usd").detail
        assert condition(judged[1], "guardrail cost_usd").passed
        assert judged[1].promote
    tolerant = judge(dear, always(2), None, GREEDY, guardrails={"cost_usd": 1.5})
    assert condition(tolerant, "guardrail cost_usd").passed


def test_a_rounds_own_outcome_doesnt_enter_its_reward_model() -> None:
    """In-sample predictions would explain the noise away, and prove luck to be an advantage."""
    rounds = log(600)
    values = rounds.values.copy()
    values[5] = 1.0 - values[5]
    changed = dataclasses.replace(rounds, values=values)
    before, after = (
        put_on_rounds(knowing(), one, one.weights, GREEDY).sample.estimated_rewards
        for one in (rounds, changed)
    )
    assert np.allclose(before[5], after[5], atol=1e-12)
    assert not np.allclose(before, after, atol=1e-12)


def test_nor_does_that_of_the_same_query_asked_again() -> None:
    rounds = log(600)
    groups = rounds.groups.copy()
    groups[300:] = groups[:300]
    values = rounds.values.copy()
    values[5] = 1.0 - values[5]
    repeated = dataclasses.replace(rounds, groups=groups)
    before, after = (
        put_on_rounds(knowing(), one, one.weights, GREEDY).sample.estimated_rewards
        for one in (repeated, dataclasses.replace(repeated, values=values))
    )
    assert np.allclose(before[[5, 305]], after[[5, 305]], atol=1e-12)


def test_a_later_look_needs_a_clearer_advantage() -> None:
    rates = prefer_rates((0.50, 0.50, 0.55))
    rounds = log(seed=3, rates=rates)
    first, later = (judge(rounds, always(2), exploration=GREEDY, look=k) for k in (1, 30))
    assert (first.look, first.alpha) == (1, 0.025)
    assert (later.look, later.alpha) == (30, pytest.approx(0.05 / 930))
    assert condition(first, "advantage").passed
    assert not condition(later, "advantage").passed
    assert "0.9999 interval" in condition(later, "advantage").detail
    assert condition(later, "advantage").more_rows is not None


def test_the_rows_that_would_settle_it_do() -> None:
    """With as many more of the same as the refusal asks for, the bound would be about 0."""
    rates = prefer_rates((0.50, 0.50, 0.53))
    rounds = log(rates=rates)
    found = condition(judge(rounds, always(2), exploration=GREEDY, look=4), "advantage")
    assert found.more_rows is not None
    copies = 1 + round(found.more_rows / len(rounds))
    longer = rounds.rows(np.tile(np.arange(len(rounds)), copies))
    longer = dataclasses.replace(
        longer,
        groups=np.arange(len(longer)),
        at=np.arange(float(len(longer))),
    )
    settled = judge(longer, always(2), exploration=GREEDY, look=4)
    assert settled.advantage is not None
    assert settled.advantage.standard_error is not None
    bound = settled.advantage.value - 3.02 * settled.advantage.standard_error
    assert abs(bound) < 0.35 * settled.advantage.value


def test_an_arm_that_was_never_drawn_says_what_to_do() -> None:
    rounds = log(3_000, probabilities=prefer(1, 3_000, 0.1))
    never = rounds.rows(rounds.action != 2)
    found = condition(judge(never, knowing()), "support")
    assert not found.passed
    assert found.more_rows is None
    assert "raise exploration.floor" in found.detail


def repeating(rounds: LoggedRounds, share: float) -> tuple[LoggedRounds, list[str]]:
    """The rounds, of which this share repeats queries; and those queries' hashes."""
    known = [f"trained {row}" for row in range(50)]
    hashes = rounds.query_hashes.copy()
    repeats = int(share * len(rounds))
    hashes[:repeats] = [known[row % 50] for row in range(repeats)]
    return dataclasses.replace(rounds, query_hashes=hashes), known


def test_rounds_whose_queries_were_trained_on_are_left_out() -> None:
    rounds, known = repeating(log(4_000), 0.25)
    verdict = judge(rounds, knowing(**{QUERY_FILTER: query_filter(known)}))
    # Of the others, one in fifty is taken for a trained one.
    assert 2_850 <= verdict.rows <= 3_000
    assert verdict.left_out == 4_000 - verdict.rows
    assert "are left out" in condition(verdict, "new queries").detail
    assert judge(rounds, knowing()).rows == 4_000


def test_where_too_few_others_remain_all_are_judged_and_it_says_so() -> None:
    rounds, known = repeating(log(4_000), 0.75)
    verdict = judge(rounds, knowing(**{QUERY_FILTER: query_filter(known)}))
    assert verdict.rows == 4_000
    assert "too few to judge by alone" in condition(verdict, "new queries").detail
    assert {piece.value for piece in verdict.slices if piece.by == "queries"} == {
        "new",
        "trained on",
    }


def test_one_tenant_can_be_judged_alone() -> None:
    rounds = log(8_000, tenants=("acme", "other"))
    verdict = judge(rounds, knowing(), tenant="acme")
    assert verdict.rows == 4_000
    assert [piece.value for piece in verdict.slices] == ["acme"]
    with pytest.raises(EmptyLogError, match=r"tenant 'acne' \(did you mean 'acme'\?\)"):
        judge(rounds, knowing(), tenant="acne")


def test_a_canary_isnt_mistaken_for_the_incumbent() -> None:
    """The log has the mixture; the incumbent's own probabilities are taken out of it again."""
    n = 1_000
    alone, other = prefer(1, n, 0.3), prefer(2, n, 0.3)
    share = np.where(np.arange(n) < 500, 0.4, 0.0)
    mixed = (1.0 - share)[:, None] * alone + share[:, None] * other
    rounds = dataclasses.replace(
        log(n, probabilities=mixed), candidate_share=share, candidate_probabilities=other
    )
    assert np.allclose(incumbent_probabilities(rounds), alone)
    on = put_on_rounds(knowing(), rounds, rounds.weights, GREEDY)
    assert np.allclose(on.incumbent, alone)
    assert np.allclose(on.incumbent_greedy, np.eye(3)[np.full(n, 1)])


def test_a_dataset_that_would_lose_is_protected() -> None:
    n = 6_000
    rates = np.tile([0.3, 0.3, 0.9], (n, 1))
    rates[::2] = [0.6, 0.3, 0.3]
    rounds = log(n, rates=rates, probabilities=np.tile([0.4, 0.2, 0.4], (n, 1)))
    attributes = np.empty(n, dtype=object)
    for row in range(n):
        attributes[row] = {"dataset": ("nq", "squad")[row % 2]}
    verdict = judge(
        dataclasses.replace(rounds, attributes=attributes), always(2), exploration=GREEDY
    )
    assert condition(verdict, "advantage").passed
    assert "worse for dataset nq -" in condition(verdict, "slices").detail


@pytest.mark.slow
def test_five_looks_at_one_log_promote_an_equal_policy_rarely() -> None:
    """Null: no candidate is better; any promotion among five looks has a chance of at most 5 %.
    More than 21 of 200 logs would be seen once in 1,000 runs.
    """
    candidates = [always(2), always(0), knowing(), always(1), opposing()]
    promoted = 0
    for seed in range(200):
        rounds = log(1_500, seed, rates=np.full((1_500, 3), 0.3))
        verdicts = [
            judge(rounds, candidate, exploration=GREEDY, look=number)
            for number, candidate in enumerate(candidates, start=1)
        ]
        promoted += any(
            condition(verdict, "advantage").passed and condition(verdict, "better choices").passed
            for verdict in verdicts
        )
    assert promoted <= 21
