"""Carries decisions out: the drawn arm first, and the best remaining one where it fails."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime

from policies.events import AnswerFinished
from router.answers.answer import Answered, AnswerPart, Order, Taken
from router.answers.arm_queue import ArmFailure, ArmQueue
from router.answers.attempt import Attempt, Citations
from router.answers.backends import Backends, EquippedArm
from router.answers.budget import Deadline, Spending
from router.answers.errors import ArmFailedError, NoAnswerError, UnansweredError
from router.answers.finding import Finder
from router.answers.prompts import Prompts
from router.answers.sources import Sources
from router.api.schemas import Citations as CitationCounts
from router.api.schemas import Source, Usage
from router.errors import RouterError
from router.models.completion import CompletionBuilder
from router.models.errors import ModelError, ModelRefusedError
from router.models.model_server import Chunk, has_token
from router.retrieval.errors import RetrievalError
from router.settings import AnswerSettings

_log = logging.getLogger(__name__)


class Answerer:
    """Answers by the arms there are."""

    def __init__(
        self,
        backends: Backends,
        prompts: Prompts,
        settings: AnswerSettings,
        finished: Callable[[AnswerFinished], None],
    ) -> None:
        """`finished` is told of every answer, failed ones included, exactly once."""
        self.backends = backends
        self._prompts = prompts
        self._settings = settings
        self._finished = finished

    async def answer(self, order: Order) -> AsyncGenerator[AnswerPart, None]:
        """Who answers, the answer's chunks, and at the end how it went.

        Raises:
            NoAnswerError: no arm could answer.
            ModelRefusedError: the models take no such request.
            UnansweredError: it broke off after chunks had been given away.
        """
        answering = _Answering(order, self.backends, self._prompts, self._settings)
        error: BaseException | None = None
        try:
            async with aclosing(answering.chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
        except BaseException as raised:
            error = raised
            if isinstance(raised, RouterError):
                raised.decision_id = order.decision.event.decision_id
            raise
        finally:
            for breaker in order.probes:
                breaker.release()
            answered = answering.result(error)
            self._finished(answered.event)
        yield answered


class _Answering:
    """One answer under way."""

    def __init__(
        self, order: Order, backends: Backends, prompts: Prompts, settings: AnswerSettings
    ) -> None:
        self._order = order
        self._backends = backends
        self._prompts = prompts
        self._settings = settings
        self._now = asyncio.get_running_loop().time
        self._deadline = Deadline(settings.deadline_s - (self._now() - order.started), self._now)
        self._spending = Spending()
        event = order.decision.event
        self._finder = Finder(order.messages, event.tenant, prompts, self._deadline, self._spending)
        self._decision_id = event.decision_id
        self._drawn = self._executed = event.arm
        self._queue = ArmQueue(backends, order.decision.response.arms, event.arm)
        self._first_token_s: float | None = None
        self._begin_afresh()

    def _begin_afresh(self) -> None:
        """Nothing that an arm has done so far counts for the next one."""
        self._sources = Sources()
        self._citations = Citations(check=self._order.is_text)  # in JSON, brackets are lists
        self._given_away = CompletionBuilder()

    async def chunks(self) -> AsyncGenerator[Taken | Chunk, None]:
        """The chunks of the first arm that can; raises as Answerer.answer does."""
        while self._deadline.left_s > 0.0 and (arm := self._queue.next()) is not None:
            self._executed = arm.name
            try:
                if self._order.streamed:
                    async with aclosing(self._take(arm)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                else:
                    for chunk in [chunk async for chunk in self._take(arm)]:
                        yield chunk
                return
            except (ArmFailedError, ModelError, RetrievalError) as error:
                self._queue.failed(arm.name, error)
                _log.warning("decision %s: arm %s failed: %s", self._decision_id, arm.name, error)
                self._require_that_another_may_go_on(error)
        raise self._nobody_could()

    async def _take(self, arm: EquippedArm) -> AsyncGenerator[Taken | Chunk, None]:
        """One arm's chunks."""
        begun = False
        attempt = self._attempt(arm)
        chunks = attempt.chunks(
            self._finder,
            self._deadline,
            self._spending,
            so_far=self._given_away.text,
            alternatives=self._queue.has_other_model(arm),
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                if not begun:
                    begun = True
                    yield Taken(arm.name)
                if self._first_token_s is None and has_token(chunk):
                    self._first_token_s = self._now() - self._order.started
                if self._order.streamed:
                    self._given_away.add(chunk)
                yield chunk

    def _attempt(self, arm: EquippedArm) -> Attempt:
        return Attempt(
            arm,
            self._order.messages,
            self._order.parameters,
            sources=self._sources,
            citations=self._citations,
            prompts=self._prompts,
        )

    def _require_that_another_may_go_on(self, error: ArmFailure) -> None:
        """After a failure: clear the table, or, where words are out already, see who continues."""
        words_are_out = self._order.streamed and self._first_token_s is not None
        if not words_are_out:
            self._first_token_s = None
            self._begin_afresh()
        elif self._settings.interrupted == "fail" or not self._continuable:
            raise UnansweredError(f"the answer broke off: {error}") from error
        else:
            self._citations.flush()  # half a citation can't be continued

    @property
    def _continuable(self) -> bool:
        """Whether another model can go on: with one text, but not with JSON or a tool call."""
        one = self._order.parameters.get("n") in (None, 1)
        return one and self._order.is_text and not self._given_away.has_tool_calls

    def _nobody_could(self) -> Exception:
        failures = "; ".join(f"{name}: {error}" for name, error in self._queue.failures)
        if self._order.streamed and self._first_token_s is not None:
            return UnansweredError(
                f"the answer broke off, and no arm could continue it ({failures})"
            )
        tried = [e for _, e in self._queue.failures if not isinstance(e, ArmFailedError)]
        if tried and all(isinstance(e, ModelRefusedError) for e in tried):
            return tried[0]
        late = "" if self._deadline.left_s > 0.0 else "in time "
        waits = [e.retry_after_s for _, e in self._queue.failures if isinstance(e, ModelError)]
        asked = max((wait for wait in waits if wait is not None), default=1.0)
        return NoAnswerError(
            f"no arm could answer {late}({failures})",
            retry_after_s=max(self._backends.retry_after_s(), int(asked + 0.999)),
        )

    def result(self, error: BaseException | None) -> Answered:
        """How it went, error or not."""
        degraded_from = self._drawn if self._executed != self._drawn else None
        cited, dropped = self._citations.cited, self._citations.dropped
        notes = [f"degraded: {name}: {error}" for name, error in self._queue.failures]
        if self._sources and not cited and error is None:
            notes.append(f"the answer cites none of the {len(self._sources)} passages it was given")
        event = AnswerFinished(
            decision_id=self._decision_id,
            at=time.time(),
            executed_arm=self._executed,
            metrics=self._metrics(whole=error is None),
            input_tokens=self._spending.input_tokens,
            output_tokens=self._spending.output_tokens,
            evidence=self._sources.evidence(),
            error=_reason(error),
            retrieval=self._sources.summary(datetime.now(UTC), cited=len(cited), dropped=dropped),
            failures=[f"{name}: {failure}" for name, failure in self._queue.failures],
        )
        return Answered(
            event=event,
            degraded_from=degraded_from,
            sources=[
                Source.of(number, passage, cited=number in cited)
                for number, passage in enumerate(self._sources.passages, start=1)
            ],
            citations=CitationCounts(len(self._sources), len(cited), dropped),
            usage=Usage.of(event.input_tokens, event.output_tokens),
            notes=notes,
        )

    def _metrics(self, *, whole: bool) -> dict[str, float]:
        """What the router itself measures; what it doesn't know it leaves out.

        The times of an answer that isn't whole would teach that failing is fast.
        """
        metrics = {"cost_usd": self._spending.cost_usd}
        if whole:
            metrics |= {
                "latency_s": self._now() - self._order.started,
                "first_token_s": self._first_token_s,
                "steps": float(self._finder.steps),
            }
        return {name: value for name, value in metrics.items() if value is not None}


def _reason(error: BaseException | None) -> str | None:
    """Why there is no whole answer, without anything a server said."""
    if error is None:
        return None
    if isinstance(error, GeneratorExit | asyncio.CancelledError):
        return "the caller went away, or the service stopped"
    if isinstance(error, Exception):
        return str(error) or type(error).__name__
    return type(error).__name__
