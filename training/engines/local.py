"""The engine that needs no other: one part after the other, in this process."""

from collections.abc import Callable, Iterator, Sequence

from training.engines import Part, Result


class LocalEngine:
    """Holds the rows of one part at a time."""

    def map(self, step: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """As `training.engines.Engine` says."""
        for part in parts:
            yield step(part)
