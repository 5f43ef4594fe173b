"""Engines: where the passes over a log's parts run.

Training and evaluation see all rows only in passes: a step reads one part of the log and gives back
statistics of it that can be added up. An engine maps a step over the parts; what the statistics add
up to, and all that follows from it, stays in the process that asked.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


class Engine(Protocol):
    """Runs a step on every part."""

    def map(self, step: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """The step's results in the order of the parts, whichever was done first.

        Sums over them are then the same numbers on every engine. Results come one by one, so that
        whoever adds them up holds few of them.

        Args:
            step: picklable (a module's function, or `functools.partial` of one) and without effects
                but its result, since a part is done again where a worker was lost.
            parts: picklable, and small: references to files, not rows.
        """
