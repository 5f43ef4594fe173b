"""A rollout's rounds are read once each, however they come."""

import msgspec
import pytest

from policies.events import AnswerFinished, DecisionMade, FeedbackGiven
from policies.rollout import Rollout
from router.log.memory_reader import MemoryEventReader
from router.log.memory_store import MemoryEventStore
from router.rollout.reading import RolloutReading
from router.settings import GuardrailSettings, RolloutSettings
from tests.rollout_world import CANDIDATE, World

WORLD = World(
    good=((0.8, 0.2, 0.5), (0.6, 0.6, 0.5)), incumbent=(0, 0), candidate=(1, 1), share=0.2
)
CANARY = Rollout(version=CANDIDATE, stage="canary", share=0.2, began=1_000.0, at=1_000.0)


def feedback(decision: DecisionMade, value: float, key: str = "a") -> FeedbackGiven:
    return FeedbackGiven(
        feedback_id=f"{decision.decision_id}-{key}",
        decision_id=decision.decision_id,
        metric="quality",
        value=value,
        at=0.0,
    )


class Log:
    """A store with some of the world's rounds, and readings of it."""

    def __init__(self) -> None:
        self.store = MemoryEventStore()
        self.now = 0.0
        self.rounds = [(d, float(r or 0.0)) for d, r in WORLD.rounds(30, 0)]

    def reading(
        self,
        *,
        state: bytes = b"",
        settings: RolloutSettings = RolloutSettings(),
        rollout: Rollout = CANARY,
    ) -> RolloutReading:
        reader = MemoryEventReader(self.store)
        return RolloutReading(
            rollout, reader, settings, state=state, clock=lambda: self.now, pause=lambda _: None
        )


@pytest.fixture
def log() -> Log:
    return Log()


def rounds_of(reading: RolloutReading) -> int:
    return reading.book.findings()[0].rounds


async def test_late_feedback_joins_its_decision(log: Log) -> None:
    """In later looks, by the same reading or by one that went on from its state."""
    await log.store.append([decision for decision, _ in log.rounds])
    reading = log.reading()
    assert reading.catch_up(1_000) == 30
    assert rounds_of(reading) == 0
    await log.store.append([feedback(*log.rounds[3])])
    reading.catch_up(1_000)
    assert rounds_of(reading) == 1
    after_restart = log.reading(state=reading.encoded())
    await log.store.append([feedback(*log.rounds[5])])
    assert after_restart.catch_up(1_000) == 1
    assert rounds_of(after_restart) == 2
    assert after_restart.book.evidence.decisions == reading.book.evidence.decisions


async def test_a_restart_changes_nothing_of_what_is_found(log: Log) -> None:
    """Read in pieces by several processes or in one go by one: the same figures."""
    whole, state = log.reading(), b""
    for start in range(0, 30, 6):
        piece = log.rounds[start : start + 6]
        await log.store.append([decision for decision, _ in piece])
        await log.store.append([feedback(*one) for one in piece])
        whole.catch_up(1_000)
        part = log.reading(state=state)
        part.catch_up(1_000)
        state = part.encoded()
    assert part.book.findings() == whole.book.findings()
    assert rounds_of(whole) == 30


async def test_the_first_value_of_a_metric_counts_and_later_ones_do_not(log: Log) -> None:
    """Also where another process has counted the first."""
    decision, _ = log.rounds[0]
    await log.store.append([decision, feedback(decision, 1.0), feedback(decision, 0.0, "b")])
    reading = log.reading()
    reading.catch_up(1_000)
    once = reading.book.findings()
    assert once[0].rounds == 1
    await log.store.append([feedback(decision, 0.0, "c")])
    after_restart = log.reading(state=reading.encoded())
    for one in (reading, after_restart):
        one.catch_up(1_000)
        assert one.book.findings() == once


async def test_feedback_that_is_stored_before_its_decision_waits_for_it(log: Log) -> None:
    """Through a restart, for a minute; then it is counted as never joined."""
    first, second = log.rounds[0], log.rounds[1]
    await log.store.append([feedback(*first), feedback(*second)])
    reading = log.reading()
    reading.catch_up(1_000)
    assert rounds_of(reading) == 0
    await log.store.append([first[0]])
    after_restart = log.reading(state=reading.encoded())
    after_restart.catch_up(1_000)
    assert rounds_of(after_restart) == 1
    log.now = 61.0
    after_restart.catch_up(1_000)
    await log.store.append([second[0]])
    after_restart.catch_up(1_000)
    assert rounds_of(after_restart) == 1
    assert msgspec.msgpack.decode(after_restart.encoded())["unjoined"] == 1


async def test_only_rounds_of_this_stage_count(log: Log) -> None:
    """Not those of another candidate, of its shadow, from before it began, or of no rollout."""
    decision, reward = log.rounds[0]
    others = [
        {"candidate": "another"},
        {"candidate_share": 0.0},
        {"at": 900.0},
        {"candidate": "", "candidate_probabilities": []},
    ]
    for number, change in enumerate(others):
        other = msgspec.structs.replace(decision, decision_id=f"other-{number}", **change)
        await log.store.append([other, feedback(other, reward)])
    reading = log.reading()
    reading.catch_up(1_000)
    assert (rounds_of(reading), reading.book.evidence.decisions) == (0, {})
    shadow = Rollout(version=CANDIDATE, stage="shadow", share=0.0, began=1_000.0, at=1_000.0)
    of_shadow = log.reading(rollout=shadow)
    of_shadow.catch_up(1_000)
    assert sum(of_shadow.book.evidence.decisions.values()) == 1


async def test_what_the_router_measures_is_a_guardrails_value(log: Log) -> None:
    """Latency comes with the answer, and joins by decision, also after a restart."""
    settings = RolloutSettings(guardrails={"latency_s": GuardrailSettings(10.0)})
    await log.store.append([decision for decision, _ in log.rounds])
    reading = log.reading(settings=settings)
    reading.catch_up(1_000)
    after_restart = log.reading(settings=settings, state=reading.encoded())
    answers = [
        AnswerFinished(
            decision_id=decision.decision_id,
            at=0.0,
            executed_arm=decision.arm,
            metrics={"latency_s": 2.0, "cost_usd": 0.1},
        )
        for decision, _ in log.rounds[:7]
    ]
    await log.store.append(answers)
    for one in (reading, after_restart):
        one.catch_up(1_000)
        assert [found.rounds for found in one.book.findings()] == [0, 7]


async def test_evidence_for_another_metric_is_gathered_anew(log: Log) -> None:
    """What was read for one says nothing of another; a state nobody can read, nothing at all."""
    for decision, reward in log.rounds:
        await log.store.append([decision, feedback(decision, reward)])
    reading = log.reading()
    reading.catch_up(1_000)
    other = log.reading(settings=RolloutSettings(metric="currency"), state=reading.encoded())
    assert other.catch_up(1_000) == 60
    assert rounds_of(other) == 0
    unreadable = log.reading(state=b"garbage")
    unreadable.catch_up(1_000)
    assert unreadable.book.findings() == reading.book.findings()


async def test_a_long_backlog_is_read_in_several_looks(log: Log) -> None:
    for decision, reward in log.rounds:
        await log.store.append([decision, feedback(decision, reward)])
    reading = log.reading()
    looks = 0
    while reading.catch_up(most=10):
        looks += 1
    assert rounds_of(reading) == 30
    assert looks == 3


async def test_a_value_that_cannot_be_judged_does_not_stop_the_reading(log: Log) -> None:
    """No number, or a decision whose lists don't fit; the next is read all the same."""
    (first, _), (second, reward), (third, _) = log.rounds[:3]
    torn = msgspec.structs.replace(third, candidate_probabilities=[1.0])
    await log.store.append([first, second, torn])
    await log.store.append([feedback(first, float("nan")), feedback(torn, 1.0)])
    await log.store.append([feedback(second, reward)])
    reading = log.reading()
    reading.catch_up(1_000)
    assert rounds_of(reading) == 1
    assert msgspec.msgpack.decode(reading.encoded())["damaged"] == 2


async def test_what_waits_keeps_no_text(log: Log) -> None:
    """It stays in the registry after its log is trimmed."""
    early = msgspec.structs.replace(
        feedback(*log.rounds[0]), comment="confidential", demonstration="confidential too"
    )
    await log.store.append([early])
    reading = log.reading()
    reading.catch_up(1_000)
    state = reading.encoded()
    assert early.feedback_id.encode() in state
    assert b"confidential" not in state


async def test_feedback_that_is_trimmed_while_it_waits_does_not_stop_the_reading(log: Log) -> None:
    """Its decision has come and been read by another process, but the store lacks it by now."""
    decision, reward = log.rounds[0]
    await log.store.append([log.rounds[1][0], feedback(decision, reward)])
    reading = log.reading()
    reading.catch_up(1_000)
    log.store.events[:] = [decision]
    after_restart = log.reading(state=reading.encoded())
    after_restart.catch_up(1_000)
    await log.store.append([log.rounds[2][0], log.rounds[3][0], feedback(*log.rounds[3])])
    after_restart.catch_up(1_000)
    assert rounds_of(after_restart) == 1
