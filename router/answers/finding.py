"""Looking passages up for an arm: once, or step by step with the model writing the next search."""

import asyncio
import re
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from router.answers.backends import EquippedArm
from router.answers.budget import Deadline, Spending
from router.answers.errors import NothingFoundError
from router.answers.prompts import Prompts
from router.answers.sources import Sources
from router.deciding.conversation import ChatMessage, last_user_text, routed_query
from router.models.completion import CompletionBuilder
from router.retrieval.errors import RetrievalError
from router.retrieval.retriever import Passage, Search

# The word with which a model says that it has found enough.
_ENOUGH = "ANSWER"
_LONGEST_SEARCH = 512
_BRIEF = {"max_tokens": 64, "temperature": 0}
# What reasoning models think aloud, to its end or as far as it got.
_THOUGHTS = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)


class Finder:
    """Finds passages for one request; arms that search for the same thing share what was found."""

    def __init__(
        self,
        messages: list[ChatMessage],
        tenant: str,
        prompts: Prompts,
        deadline: Deadline,
        spending: Spending,
    ) -> None:
        self._messages = messages
        self._question = last_user_text(messages)
        self._tenant = tenant
        self._prompts = prompts
        self._deadline = deadline
        self._spending = spending
        self._found: dict[tuple[int, Search], list[Passage]] = {}
        self.steps = 0

    async def find(self, arm: EquippedArm, sources: Sources) -> None:
        """Add what the arm finds to the sources.

        Raises:
            NothingFoundError: there was nothing.
            ArmFailedError, RetrievalError, ModelError: retriever or model failed.
        """
        if arm.retriever is None:
            return
        searches = [routed_query(self._messages)]
        await self._search(arm, searches[0], sources)
        while len(searches) < arm.settings.steps:
            following = await self._next_search(arm, sources, searches)
            if following is None:
                break
            searches.append(following)
            await self._search(arm, following, sources)
        if not sources:
            raise NothingFoundError(f"{arm.retriever.breaker.name} found no passage")

    async def _search(self, arm: EquippedArm, text: str, sources: Sources) -> None:
        assert arm.retriever is not None
        since = None
        if arm.settings.max_age_days is not None:
            # Whole minutes, so that the same search by another arm is the same.
            now = datetime.now(UTC).replace(second=0, microsecond=0)
            since = now - timedelta(days=arm.settings.max_age_days)
        search = Search(
            text=text,
            k=arm.settings.k,
            strategy=arm.settings.strategy,
            tenant=self._tenant if arm.settings.tenants == "own" else None,
            updated_since=since,
        )
        key = (id(arm.retriever), search)
        if key not in self._found:
            try:
                async with asyncio.timeout(self._deadline.left_s):
                    self._found[key] = list(await arm.retriever.search(search))
            except TimeoutError as error:
                raise RetrievalError("the answer's time ended during a search") from error
            self.steps += 1
        sources.add(self._found[key], arm.settings.context_chars)

    async def _next_search(
        self, arm: EquippedArm, sources: Sources, searches: list[str]
    ) -> str | None:
        """What the model would search for next; None where it has enough, or repeats itself."""
        prompt = self._prompts.next_search(self._question, sources.passages, searches)
        messages = [{"role": "user", "content": prompt}]
        # What the owner configured for the model wins: some take no `max_tokens`.
        brief = {} if "max_completion_tokens" in arm.model.parameters else _BRIEF
        body = {**brief, **arm.model.parameters, "messages": messages}
        reply = CompletionBuilder()
        patience = self._deadline.patience(alternatives=True)
        async with aclosing(self._spending.stream(arm.model, body, patience)) as chunks:
            async for chunk in chunks:
                reply.add(chunk)
        search = _search_in(reply.text)
        known = {earlier.casefold() for earlier in searches}
        return None if search is None or search.casefold() in known else search


def _search_in(reply: str) -> str | None:
    """The search that a reply asks for; None where it says that there is enough."""
    lines = _THOUGHTS.sub("", reply).strip().splitlines()
    search = lines[0].strip(" \"'`*-.")[:_LONGEST_SEARCH] if lines else ""
    return None if not search or search.upper() == _ENOUGH else search
