"""What an answer may take and has taken: time, tokens, money."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from router.answers.backends import GuardedModel
from router.models.errors import ModelTimeoutError
from router.models.model_server import ChatBody, Chunk, Patience, TokenUsage, token_usage


class Deadline:
    """When an answer must be there, fallbacks included."""

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._now = now
        self._end = now() + seconds

    @property
    def left_s(self) -> float:
        """Seconds left, 0 when it has passed."""
        return max(0.0, self._end - self._now())

    def patience(self, *, alternatives: bool) -> Patience:
        """What one call may take: some of it stays for another arm, where there is one."""
        left = self.left_s
        return Patience(left / 2, left * 3 / 4) if alternatives else Patience(left, left)


class Spending:
    """Tokens and money over all calls for one answer, failed arms and search steps included."""

    def __init__(self) -> None:
        self.input_tokens = 0
        self.output_tokens = 0
        self._calls = 0
        self._cost: float | None = 0.0

    async def stream(
        self, model: GuardedModel, body: ChatBody, patience: Patience
    ) -> AsyncGenerator[Chunk, None]:
        """GuardedModel.stream, accounted for, whatever becomes of it.

        A call that broke off before it told its tokens, or that a server left hanging, may have
        cost something: then the whole cost isn't known.
        """
        usage: TokenUsage | None = None
        began = False
        try:
            async with aclosing(model.stream(body, patience)) as chunks:
                async for chunk in chunks:
                    began = True
                    usage = token_usage(chunk) or usage
                    yield chunk
        except (ModelTimeoutError, asyncio.CancelledError):
            began = True
            raise
        finally:
            if began:
                self._add(model, usage)

    def _add(self, model: GuardedModel, usage: TokenUsage | None) -> None:
        self._calls += 1
        if usage is not None:
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens
        cost = model.cost_usd(usage)
        self._cost = None if cost is None or self._cost is None else self._cost + cost

    @property
    def cost_usd(self) -> float | None:
        """US dollars; None where a price or a count is missing, or nothing was generated."""
        return self._cost if self._calls else None
