"""Reads a rollout's rounds from the store's streams into its evidence, and goes on after a restart.

Each decision is counted once, and each metric's first value on it: later corrections would let the
hasty be judged twice. Feedback may come however late. What has been read, and what it came to, is
one struct that is kept in the registry after every look.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from policies.events import AnswerFinished, DecisionMade, FeedbackGiven
from policies.rollout import Rollout
from router.log.event_reader import EventReader, StreamName
from router.rollout.evidence import Evidence, EvidenceBook
from router.settings import RolloutSettings

# Entries read at once: decoding them holds the interpreter for about half a millisecond.
_CHUNK = 64
# Between two chunks, so that the thread that decides isn't kept waiting.
_PAUSE_S = 0.001
# The clocks of the replicas and of the store may differ by this much.
_CLOCK_SKEW_S = 5.0
# Feedback may be stored before its decision is, which sits in a replica's memory for a moment.
_PATIENCE_S = 60.0
_MOST_WAITING = 1_000
# Decisions remembered, to spare a look-up each; about 1 KB apiece.
_MOST_REMEMBERED = 20_000


class Waiting(msgspec.Struct):
    """Feedback whose decision isn't stored yet, and since when it has waited."""

    event: FeedbackGiven
    since: float


class ReadingState(msgspec.Struct, kw_only=True):
    """How far the streams are read and what that came to.

    `settings` says what the evidence was gathered for, `unjoined` counts feedback whose decision
    never came or was trimmed, `damaged` values that can't be judged.
    """

    settings: str
    positions: dict[StreamName, str] = {}
    evidence: Evidence = msgspec.field(default_factory=Evidence)
    waiting: list[Waiting] = []
    unjoined: int = 0
    damaged: int = 0


class RolloutReading:
    """One rollout's streams, read on a thread."""

    def __init__(
        self,
        rollout: Rollout,
        reader: EventReader,
        settings: RolloutSettings,
        *,
        state: bytes = b"",
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Begin at the rollout's start, or go on from a state that `encoded` gave.

        A state that was gathered with another metric or other guardrails is left: its evidence
        says nothing of these.
        """
        self._rollout, self._reader = rollout, reader
        self._clock, self._pause = clock, pause
        self._state = _resumed(state, settings)
        self.book = EvidenceBook(settings, self._state.evidence)
        self._remembered: OrderedDict[str, DecisionMade] = OrderedDict()
        self._counted: OrderedDict[str, set[str]] = OrderedDict()

    def encoded(self) -> bytes:
        """What another reading can go on from."""
        return msgspec.msgpack.encode(self._state)

    def catch_up(self, most: int) -> int:
        """Read what is new, up to so many entries; how many there were."""
        seen = self._read("decisions", most)
        waiting, self._state.waiting = self._state.waiting, []
        for late in waiting:
            self._feedback(late.event, late.since)
        return seen + self._read("feedback", most)

    def _read(self, stream: StreamName, most: int) -> int:
        seen = 0
        while seen < most:
            after = self._state.positions.get(stream) or self._start()
            entries = self._reader.read(stream, after, min(_CHUNK, most - seen))
            for entry in entries:
                if isinstance(entry.event, DecisionMade):
                    self._decision(entry.event)
                elif isinstance(entry.event, AnswerFinished):
                    self._answer(entry.event)
                elif entry.event is not None:
                    self._feedback(entry.event, self._clock())
            seen += len(entries)
            if entries:
                self._state.positions[stream] = entries[-1].position
            if not entries:
                break
            self._pause(_PAUSE_S)
        return seen

    def _start(self) -> str:
        return self._reader.start(self._rollout.began - _CLOCK_SKEW_S)

    def _takes_part(self, decision: DecisionMade) -> bool:
        """Whether it was drawn in this stage of this rollout."""
        return (
            decision.candidate == self._rollout.version
            and (decision.candidate_share > 0.0) == (self._rollout.stage == "canary")
            and decision.at >= self._rollout.began - _CLOCK_SKEW_S
        )

    def _decision(self, decision: DecisionMade) -> None:
        if not self._takes_part(decision):
            return
        self.book.decided(decision)
        # Neither is needed, and both are long.
        slim = msgspec.structs.replace(decision, features=b"", query=None)
        self._remembered[decision.decision_id] = slim
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)

    def _answer(self, answer: AnswerFinished) -> None:
        wanted = self.book.metrics & answer.metrics.keys()
        decision = self._remembered.get(answer.decision_id) if wanted else None
        if wanted and decision is None:
            trace = self._reader.trace(answer.decision_id)
            decision = trace.decision if trace is not None else None
        if decision is None or not self._takes_part(decision):
            return
        for metric in wanted:
            self._value(decision, metric, answer.metrics[metric])

    def _feedback(self, event: FeedbackGiven, since: float) -> None:
        if event.metric not in self.book.metrics:
            return
        decision = self._remembered.get(event.decision_id)
        if decision is not None:
            self._value(decision, event.metric, event.value)
            return
        trace = self._reader.trace(event.decision_id)
        if trace is None or trace.decision is None:
            self._wait(event, since)
            return
        given = [f.feedback_id for f in trace.feedback if f.metric == event.metric]
        measured = trace.answer is not None and event.metric in trace.answer.metrics
        if self._takes_part(trace.decision) and not measured and given[:1] == [event.feedback_id]:
            self._value(trace.decision, event.metric, event.value)

    def _value(self, decision: DecisionMade, metric: str, value: float) -> None:
        counted = self._counted.setdefault(decision.decision_id, set())
        if metric not in counted:
            counted.add(metric)
            try:
                self.book.reported(decision, metric, value)
            except (ValueError, IndexError):  # not by this release: it mustn't stop the watch
                self._state.damaged += 1
        # As long as a decision is remembered, so is what of it has been counted.
        if len(self._counted) > 2 * _MOST_REMEMBERED:
            self._counted.popitem(last=False)

    def _wait(self, event: FeedbackGiven, since: float) -> None:
        full = len(self._state.waiting) >= _MOST_WAITING
        if full or self._clock() - since > _PATIENCE_S:
            self._state.unjoined += 1
        else:
            # It is kept beside the rollout, where an export doesn't trim: no text belongs there.
            slim = msgspec.structs.replace(event, comment=None, demonstration=None)
            self._state.waiting.append(Waiting(slim, since))


def _resumed(state: bytes, settings: RolloutSettings) -> ReadingState:
    gathered_for = repr((settings.metric, sorted(settings.guardrails.items())))
    try:
        resumed = msgspec.msgpack.decode(state, type=ReadingState) if state else None
    except msgspec.DecodeError:
        resumed = None  # of another release
    if resumed is None or resumed.settings != gathered_for:
        return ReadingState(settings=gathered_for)
    return resumed
