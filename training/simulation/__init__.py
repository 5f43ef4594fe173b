"""Worlds that send queries and know what every arm would have earned."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Traffic(NamedTuple):
    """n queries and their potential outcomes.

    `outcomes` is (n, A, M), what each arm gives if it is drawn; `means` is what it gives on average
    (the same array where a world is a recorded table); NaN where a metric isn't known of an arm.
    """

    queries: list[str]
    arms: tuple[str, ...]
    metrics: tuple[str, ...]
    outcomes: Floats
    means: Floats


class World(Protocol):
    """A source of traffic whose best policy is known."""

    def traffic(self, n: int, rng: np.random.Generator) -> Traffic:
        """n queries with their potential outcomes."""
