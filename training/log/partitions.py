"""A log as parts that fit in memory: what fitting and judging read, however large it is.

A part is a small reference that can be sent to another process, and `read` gives its rounds. What
only the whole log can tell (the order of the arms, which metrics are too rare, which decisions are
too young) is settled before there are parts, so the parts' rounds together are `join_rounds`'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from training.log.rounds import Bools, Floats, LoggedRounds, RoundCounts


class RoundsPart(Protocol):
    """Some of a log's rounds; every query lies in one part, so that near-duplicates do.

    `rows` is how many there are. Parts are pickled on their way to other processes.
    """

    @property
    def rows(self) -> int: ...

    def read(self) -> LoggedRounds:
        """The rounds in order of time, then of decision id.

        Their groups are numbers of the part alone: take `query_hashes` where numbers must mean the
        same in all parts (a row without a hash is a group of its own).
        """
        ...


@dataclass(frozen=True)
class RoundsParts:
    """All parts of a log, and what is known of the log as a whole.

    rows: rounds in all parts; dimension: of the features; observed (M,): which metrics were
    reported; explored_at (k,): when the explored rounds were made, in order; policy_version: that
    of the latest round, empty where it is unknown; tenants: their names, sorted.
    """

    parts: Sequence[RoundsPart]
    feature_version: str
    dimension: int
    arms: tuple[str, ...]
    metrics: tuple[str, ...]
    counts: RoundCounts
    rows: int
    observed: Bools
    explored_at: Floats
    policy_version: str
    tenants: tuple[str, ...]

    def until(self, share: float) -> float:
        """The time of the last explored round in the earliest `share` of them: those at exactly
        that time belong to the earlier side, so that nothing is on both.
        """
        last = max(int(np.ceil(len(self.explored_at) * share)), 1) - 1
        return float(self.explored_at[last])


@dataclass(frozen=True)
class RoundsInMemory:
    """A part that holds its rounds."""

    rounds: LoggedRounds

    @property
    def rows(self) -> int:
        """How many rounds there are."""
        return len(self.rounds)

    def read(self) -> LoggedRounds:
        """The rounds."""
        return self.rounds


def one_part(rounds: LoggedRounds) -> RoundsParts:
    """A log that fits in memory, as parts."""
    return RoundsParts(
        parts=(RoundsInMemory(rounds),),
        feature_version=rounds.feature_version,
        dimension=rounds.features.shape[1],
        arms=rounds.arms,
        metrics=rounds.metrics,
        counts=rounds.counts,
        rows=len(rounds),
        observed=rounds.observed,
        explored_at=np.asarray(rounds.at[rounds.explored]),
        policy_version=str(rounds.policy_versions[-1]) if len(rounds) else "",
        tenants=tuple(sorted(set(rounds.tenants.tolist()))),
    )
