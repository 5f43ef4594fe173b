"""What logged mixtures say of a candidate."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policies.events import DecisionMade
from policies.exploration import Exploration
from router.rollout.evidence import (
    Evidence,
    EvidenceBook,
    incumbent_probabilities,
    round_value,
)
from router.settings import GuardrailSettings, RolloutSettings
from tests.rollout_world import World

# Both like different arms of equal worth, on every query, and expectations are wrong.
HARMLESS = World(
    good=((0.6, 0.6, 0.3), (0.4, 0.4, 0.8)),
    incumbent=(0, 0),
    candidate=(1, 1),
    share=0.2,
    reporting=(0.9, 0.6, 0.9),
    expected=(0.7, 0.5, 0.5),
)
# A quarter less of quality: the candidate takes the worse arm of every second query.
HARMFUL = World(
    good=((0.8, 0.2, 0.5), (0.6, 0.6, 0.5)),
    incumbent=(0, 0),
    candidate=(1, 1),
    share=0.1,
    reporting=(0.5, 0.5, 0.5),
)
UNIT = st.floats(0.0, 1.0)


def looked_at(world: World, rounds: int, seed: int, settings: RolloutSettings) -> int | None:
    """The number of decisions after which it was found worse, looking every 25; None if never."""
    book = EvidenceBook(settings)
    for number, (decision, reward) in enumerate(world.rounds(rounds, seed), start=1):
        book.decided(decision)
        if reward is not None:
            book.reported(decision, "quality", reward)
        if number % 25 == 0 and book.verdict() == "worse":
            return number
    return None


@given(
    world_seed=st.integers(0, 1_000),
    control=arrays(np.float64, 3, elements=UNIT),
    means=arrays(np.float64, 3, elements=UNIT),
    share=st.sampled_from([0.0, 0.02, 0.3, 0.9]),
)
def test_a_rounds_value_is_its_advantage_on_average(
    world_seed: int, control: np.ndarray, means: np.ndarray, share: float
) -> None:
    """Whatever was predicted, summed over the arms that may be drawn; and it keeps its range."""
    draws = np.random.default_rng(world_seed)
    likes = draws.integers(3, size=(2, 2))
    world = World(
        good=(means, means), incumbent=likes[0].tolist(), candidate=likes[1].tolist(), share=share
    )
    decision, _ = next(world.rounds(1, world_seed))
    value = round_value(decision, control, np.ones(3))
    assert value is not None
    each = value.prediction + value.weights * (means - control)
    difference = np.array(decision.candidate_probabilities) - incumbent_probabilities(decision)
    average = float(np.array(decision.probabilities) @ each)
    assert average == pytest.approx(float(difference @ means), abs=1e-9)
    for reward in (0.0, 1.0):
        surprise = value.weights * (reward - control)
        assert (surprise <= value.above + 1e-12).all()
        assert (surprise >= -value.below - 1e-12).all()


@given(share=st.floats(0.01, 0.99), seed=st.integers(0, 1_000))
def test_the_incumbents_probabilities_come_back_from_the_mixture(share: float, seed: int) -> None:
    world = World(good=((0, 0, 0),) * 2, incumbent=(0, 2), candidate=(1, 1), share=share)
    alone = world.probabilities(world.incumbent)
    decision, _ = next(world.rounds(1, seed))
    recovered = incumbent_probabilities(decision)
    assert min(np.abs(recovered - row).max() for row in alone) < 1e-9


def test_a_harmless_canary_is_rolled_back_at_most_alpha_of_the_time() -> None:
    """Null: a candidate of equal worth, on arms that are reported at other rates, is found worse at
    some look of those after every 25th of 800 decisions with probability 10 %. With 60 canaries,
    more than 14 (the 99.9 % point) refute it.
    """
    assert HARMLESS.advantage == pytest.approx(0.0)
    settings = RolloutSettings(alpha=0.1, tolerance=0.0, min_rounds=1)
    found = [looked_at(HARMLESS, 800, seed, settings) for seed in range(60)]
    assert sum(number is not None for number in found) <= 14


def test_a_clearly_harmful_canary_is_rolled_back_soon() -> None:
    """A quarter worse with a tenth of the draws, half of them reported: in at least 19 of 20
    canaries within 4,000 decisions.
    """
    assert HARMFUL.advantage == pytest.approx(-0.25, abs=0.01)
    settings = RolloutSettings()
    found = [looked_at(HARMFUL, 4_000, seed, settings) for seed in range(20)]
    assert sum(number is not None for number in found) >= 19


def test_a_shadow_tells_harm_without_a_single_draw() -> None:
    """Where the incumbent explores, its own draws stand for the candidate's."""
    world = World(
        good=HARMFUL.good,
        incumbent=(0, 0),
        candidate=(1, 1),
        share=0.0,
        exploration=Exploration(kind="epsilon", epsilon=0.3),
    )
    assert looked_at(world, 4_000, 1, RolloutSettings()) is not None


def test_a_better_canary_is_ready_after_its_course_and_not_before() -> None:
    better = World(good=HARMFUL.good, incumbent=(1, 1), candidate=(0, 0), share=0.3)
    book = EvidenceBook(RolloutSettings(course_rounds=2_000))
    verdicts = []
    for decision, reward in better.rounds(2_100, 3):
        book.decided(decision)
        book.reported(decision, "quality", reward or 0.0)
        verdicts.append(book.verdict() if len(verdicts) % 100 == 99 else None)
    assert "worse" not in verdicts
    assert (verdicts[1_899], verdicts[1_999]) == ("watching", "ready")
    [found] = book.findings()
    assert 0.0 < found.lower < better.advantage < found.upper


def test_missing_feedback_is_no_bad_feedback() -> None:
    """A decision that nobody reports on changes nothing of what is known."""
    book = EvidenceBook(RolloutSettings())
    for decision, _ in HARMFUL.rounds(500, 0):
        book.decided(decision)
    [found] = book.findings()
    assert (found.rounds, found.advantage, found.lower, found.upper) == (0, 0.0, -1.0, 1.0)
    assert book.verdict() == "watching"


def test_a_guardrail_is_watched_in_its_own_unit() -> None:
    """A candidate that is 2 s slower is worse, however good."""
    settings = RolloutSettings(guardrails={"latency_s": GuardrailSettings(10.0, 0.5)})
    book = EvidenceBook(settings)
    seconds = {"finetuned": 1.0, "retrieve": 3.0, "hybrid": 2.0}
    for decision, _ in HARMFUL.rounds(3_000, 0):
        book.decided(decision)
        book.reported(decision, "latency_s", seconds[decision.arm])
    quality, latency = book.findings()
    assert (quality.rounds, latency.rounds) == (0, 3_000)
    assert latency.lower < -1.7 < latency.upper
    assert latency.advantage == pytest.approx(-1.7, abs=0.3)
    assert book.verdict() == "worse"


def test_a_draw_that_cannot_stand_for_the_candidates_is_left_out() -> None:
    """The candidate might take an arm that had no chance; or one so slim that it says nothing."""
    greedy = World(
        good=HARMFUL.good,
        incumbent=(0, 0),
        candidate=(1, 1),
        share=0.0,
        exploration=Exploration(kind="greedy"),
    )
    slim = World(
        good=HARMFUL.good,
        incumbent=(0, 0),
        candidate=(1, 1),
        share=0.001,
        exploration=Exploration(kind="greedy"),
    )
    book = EvidenceBook(RolloutSettings())
    for world in (greedy, slim):
        decision, _ = next(world.rounds(1, 0))
        book.reported(decision, "quality", 1.0)
    assert book.evidence.unsupported == 2
    assert book.findings()[0].rounds == 0


def test_evidence_goes_on_where_it_was_left() -> None:
    """Through a store that keeps bytes."""
    rounds = [(d, r) for d, r in HARMFUL.rounds(400, 5) if r is not None]

    def told(book: EvidenceBook, some: list[tuple[DecisionMade, float | None]]) -> EvidenceBook:
        for decision, reward in some:
            book.decided(decision)
            book.reported(decision, "quality", reward or 0.0)
        return book

    whole = told(EvidenceBook(RolloutSettings()), rounds)
    first = told(EvidenceBook(RolloutSettings()), rounds[:90])
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(first.evidence), type=Evidence)
    second = told(EvidenceBook(RolloutSettings(), kept), rounds[90:])
    assert second.findings() == whole.findings()


@pytest.mark.parametrize("metric", ["cost_usd", "latency_s"])
def test_a_cost_cannot_be_what_a_candidate_is_to_improve(metric: str) -> None:
    """More of the metric is better to the watch: a dearer candidate would be ready for full."""
    with pytest.raises(ValueError, match=f"guardrails.{metric}"):
        RolloutSettings(metric=metric)
