"""Circuit breakers: a model or retriever that keeps failing is left alone for a while.

The state machine is the `circuitbreaker` package's. What is added here: one probe at a time while
half-open, a state that can be asked before the draw, and failures that don't count against anyone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from circuitbreaker import CircuitBreaker

from router.answers.errors import BreakerOpenError
from router.models.errors import ModelError
from router.retrieval.errors import RetrievalError
from router.settings import BreakerSettings

State = Literal["closed", "open", "half-open"]


class Breaker:
    """Guards one backend; use it from one event loop."""

    def __init__(self, name: str, settings: BreakerSettings) -> None:
        self.name = name
        self._breaker = CircuitBreaker(
            failure_threshold=settings.failures,
            recovery_timeout=settings.open_s,
            expected_exception=Exception,
            name=name,
        )
        self._probing = False
        self._reserved = False

    @property
    def state(self) -> State:
        """Half-open once the pause is over and nobody has tried yet."""
        if self._breaker.opened:
            return "open"
        return "closed" if self._breaker.closed else "half-open"

    @property
    def retry_after_s(self) -> int:
        """Whole seconds until it is worth trying again, at least 1."""
        return max(1, int(self._breaker.open_remaining))

    @property
    def why_not(self) -> str | None:
        """Why nobody may call the backend now."""
        state = self.state
        taken = self._probing or self._reserved
        if state == "closed" or (state == "half-open" and not taken):
            return None
        return self._left_alone

    @property
    def _left_alone(self) -> str:
        return f"{self.name} has failed repeatedly and is left alone for now"

    def reserve(self) -> bool:
        """Keep a half-open breaker's one probe for who asks, until `release`; whether it is kept.

        A decision for an arm reserves at once, so that no other decision counts on the same probe.
        """
        if self.state != "half-open" or self._reserved or self._probing:
            return False
        self._reserved = True
        return True

    def release(self) -> None:
        """Give the reservation back."""
        self._reserved = False

    @contextmanager
    def call(self) -> Iterator[bool]:
        """Around one call; gives whether it is a half-open breaker's probe.

        Being cancelled says nothing of the backend, so it isn't counted.

        Raises:
            BreakerOpenError: nobody may call now.
        """
        state = self.state
        probe = state == "half-open"
        if state == "open" or (probe and self._probing):
            raise BreakerOpenError(self._left_alone)
        self._probing |= probe
        try:
            yield probe
        except (ModelError, RetrievalError) as error:
            if getattr(error, "trips", True):
                self._count(error)
            raise
        else:
            # A long answer that ends well says nothing of failures after it had begun.
            if probe or self._breaker.closed:
                self._breaker.reset()
        finally:
            if probe:
                self._probing = False

    def works(self) -> None:
        """A probe has begun to be answered: others needn't wait for the end of a long answer."""
        self._breaker.reset()
        self._probing = False

    def _count(self, error: Exception) -> None:
        try:
            with self._breaker:
                raise error
        except type(error):
            pass
