"""What an answer may take and has taken: time, tokens, money."""

from collections.abc import Callable

from router.answers.backends import GuardedModel
from router.models.model_server import Patience, TokenUsage


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
        self.calls = 0
        self._cost: float | None = 0.0

    def add(self, model: GuardedModel, usage: TokenUsage | None) -> None:
        """Count one call that generated something; one whose cost isn't known hides the total."""
        self.calls += 1
        if usage is not None:
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens
        cost = model.cost_usd(usage)
        self._cost = None if cost is None or self._cost is None else self._cost + cost

    @property
    def cost_usd(self) -> float | None:
        """US dollars; None where a price or a count is missing, or nothing was generated."""
        return self._cost if self.calls else None
