"""One arm's try at an answer: retrieve, build the prompt, generate, check the citations."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from router.answers.backends import EquippedArm
from router.answers.budget import Deadline, Spending
from router.answers.citations import CitationFilter
from router.answers.finding import Finder
from router.answers.prompts import Prompts
from router.answers.sources import Sources
from router.deciding.conversation import ChatMessage, last_user_text, with_persona, with_question
from router.models.model_server import Chunk


class Attempt:
    """Generates once; `sources` and `citations` outlive it, so that another arm can go on."""

    def __init__(
        self,
        arm: EquippedArm,
        messages: list[ChatMessage],
        parameters: dict[str, Any],
        *,
        sources: Sources,
        citations: "Citations",
        prompts: Prompts,
    ) -> None:
        self._arm = arm
        self._messages = messages
        self._parameters = parameters
        self._sources = sources
        self._citations = citations
        self._prompts = prompts

    async def chunks(
        self,
        finder: Finder,
        deadline: Deadline,
        spending: Spending,
        *,
        so_far: str = "",
        alternatives: bool,
    ) -> AsyncGenerator[Chunk, None]:
        """The answer's chunks, citations checked; with `so_far`, what follows that text.

        Raises:
            ArmFailedError, ModelError, RetrievalError: this arm can't.
        """
        await finder.find(self._arm, self._sources)
        self._citations.given(len(self._sources))
        body = {**self._parameters, "messages": self._prompt(so_far)}
        patience = deadline.patience(alternatives=alternatives)
        async with aclosing(spending.stream(self._arm.model, body, patience)) as chunks:
            async for chunk in chunks:
                if so_far:  # the message has begun: who speaks was said
                    for choice in chunk["choices"]:
                        choice["delta"].pop("role", None)
                yield self._citations.checked(chunk)

    def _prompt(self, so_far: str) -> list[ChatMessage]:
        messages = self._messages
        if self._arm.retriever is not None:
            question = last_user_text(messages)
            messages = with_question(
                messages, self._prompts.answer(question, self._sources.passages)
            )
        if so_far:
            messages = [
                *messages,
                {"role": "assistant", "content": so_far},
                {"role": "user", "content": self._prompts.go_on()},
            ]
        return with_persona(messages, self._arm.model.persona)


class Citations:
    """The citations in all choices of an answer."""

    def __init__(self, *, check: bool) -> None:
        """Without `check` the text passes untouched: it is JSON, or nothing was given to cite."""
        self._check = check
        self._filters: dict[int, CitationFilter] = {}
        self._given = 0

    def given(self, count: int) -> None:
        """So many passages have been given by now."""
        self._given = count

    @property
    def cited(self) -> set[int]:
        """The numbers of the passages that are cited."""
        return set[int]().union(*(checked.cited for checked in self._filters.values()))

    @property
    def dropped(self) -> int:
        """Citations of passages that weren't given."""
        return sum(checked.dropped for checked in self._filters.values())

    def checked(self, chunk: Chunk) -> Chunk:
        """The chunk with its citations checked; what is held back comes at a choice's end."""
        if not self._check or not self._given:
            return chunk
        for choice in chunk.get("choices") or ():
            delta = choice["delta"]
            content = delta.get("content")
            if not content and not choice.get("finish_reason"):
                continue
            checking = self._filters.setdefault(choice.get("index", 0), CitationFilter(0))
            checking.given = self._given
            passed = checking.feed(content or "")
            if choice.get("finish_reason"):
                passed += checking.finish()
            if passed or content:
                delta["content"] = passed
        return chunk

    def flush(self) -> str:
        """What the first choice still holds back, when its stream has broken off."""
        return self._filters[0].finish() if 0 in self._filters else ""
