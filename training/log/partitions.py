"""A log as parts that fit in memory: what fitting and judging read, however large it is.

A part is a small reference that can be sent to another process, and `read` gives its rounds. What
only the whole log can tell (the order of the arms, which metrics are too rare, which decisions are
too young) is settled before there are parts, so the parts' rounds together are `join_rounds`'.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from policies.features import LOGGED_DTYPE
from training.engines import Engine
from training.engines.local import LocalEngine
from training.fit.folds import Ints
from training.log.join import join_rounds
from training.log.joined_columns import KINDS, log_names, read_joined, rows_in
from training.log.log_files import Kind
from training.log.log_folder import LogFolder, LogPlace, log_folder
from training.log.rounds import Bools, Floats, LoggedRounds, RoundCounts
from training.log.scratch import buckets_of, scratch_folder
from training.log.shuffle import Piece, Shuffle, stored_parts

# A log of no more decisions is one part, in memory.
IN_MEMORY = 200_000
# What a step reads, and about what a part holds.
_PIECE_ROWS, _PART_ROWS = 200_000, 131_072


class RoundsPart(Protocol):
    """Some of a log's rounds; every query lies in one part, so that near-duplicates do.

    `rows` is how many there are. Parts are pickled on their way to other processes.
    """

    @property
    def rows(self) -> int: ...

    def read(self, *, features: bool = True) -> LoggedRounds:
        """The rounds in order of time, then of decision id; without their features where those
        aren't asked for, if that saves anything.

        Their groups are numbers of the part alone: take `query_hashes` where numbers must mean the
        same in all parts (a row without a hash is a group of its own).
        """
        ...


@dataclass(frozen=True)
class RoundsParts:
    """All parts of a log, and what is known of the log as a whole.

    rows: rounds in all parts; dimension: of the features; observed (M,): which metrics were
    reported; explored_at (k,): when the explored rounds were made, in order; policy_version: that
    of the latest round, empty where it is unknown; tenants: their names, sorted; buckets: into how
    many the queries were dealt, numbers: the parts' own, of those that aren't empty.
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
    buckets: int = 1
    numbers: tuple[int, ...] = (0,)

    def part_of(self, hashes: Sequence[str]) -> Ints:
        """(k,) which part holds a query's rounds, by its position; any, if none does."""
        number = buckets_of(pa.array(hashes, type=pa.string()), self.buckets)
        positions = np.zeros(self.buckets, dtype=np.intp)
        positions[list(self.numbers)] = np.arange(len(self.numbers))
        return np.asarray(positions[number])

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

    def read(self, *, features: bool = True) -> LoggedRounds:  # noqa: ARG002 - they are here
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


@contextmanager
def log_in_parts(
    source: LogPlace,
    engine: Engine,
    *,
    scratch: LogPlace | None = None,
    arms: Sequence[str] = (),
    feature_version: str | None = None,
    since: float = -math.inf,
    in_memory: int = IN_MEMORY,
    part_rows: int = _PART_ROWS,
) -> Iterator[RoundsParts]:
    """The log's rounds in parts, which can be read as long as the block lasts.

    Args:
        source: the log's directory.
        engine: what shuffles a log that isn't one part in memory.
        scratch: an existing directory for the shuffled rows, about the log's size twice over;
            without it the system's temporary one, which only processes of this machine share.
        arms: come first on the arm axis, in their order.
        feature_version: keep rounds with these features; without it, the latest decision's.
        since: keep rounds made later than this.
        in_memory: the most decisions for one part in memory, on the local engine; for others
            parts always lie in files, as rows would otherwise be sent along.
        part_rows: about how many decisions a part holds otherwise.

    Raises:
        InputError: the log, or something in it, is wrong; or there is no such scratch directory.
        EmptyLogError: no decision has such features.
    """
    log_at = log_folder(source)
    names = log_names(log_at)
    rows = sum(rows_in(log_at, name) for name in names["decisions"])
    if rows <= in_memory and isinstance(engine, LocalEngine):
        log = read_joined(source, since)
        version = feature_version
        yield one_part(
            join_rounds(log, source=source, arms=arms, feature_version=version, since=since)
        )
        return
    with scratch_folder(scratch) as folder:
        shuffle = Shuffle(log_at, folder(), max(2, math.ceil(rows / part_rows)), since)
        yield _shuffled(shuffle, _pieces(log_at, names), engine, arms, feature_version)


def _shuffled(
    shuffle: Shuffle,
    pieces: Sequence[Piece],
    engine: Engine,
    arms: Sequence[str],
    feature_version: str | None,
) -> RoundsParts:
    whole, placed = shuffle.run(pieces, engine, arms=arms, feature_version=feature_version)
    parts, counts = stored_parts(shuffle, whole, placed)
    latest = [one.latest for one in placed if one.latest is not None]
    return RoundsParts(
        parts=parts,
        feature_version=whole.feature_version,
        dimension=max(max(one.features, default=0) for one in placed) // LOGGED_DTYPE.itemsize,
        arms=whole.arms,
        metrics=whole.metrics,
        counts=counts,
        rows=sum(part.rows for part in parts),
        observed=np.any([one.observed for one in placed], axis=0),
        explored_at=np.sort(np.concatenate([one.explored_at for one in placed])),
        policy_version=max(latest).named if latest else "",
        tenants=tuple(sorted(frozenset[str]().union(*(one.tenants for one in placed)))),
        buckets=shuffle.buckets,
        numbers=tuple(part.number for part in parts),
    )


def _pieces(folder: LogFolder, names: Mapping[Kind, Sequence[str]]) -> list[Piece]:
    """The files, several small ones together."""
    pieces: list[Piece] = []
    for kind in KINDS:
        together: list[str] = []
        rows = 0
        for name in names[kind]:
            more = rows_in(folder, name)
            if together and rows + more > _PIECE_ROWS:
                pieces.append(Piece(len(pieces), kind, tuple(together)))
                together, rows = [], 0
            together.append(name)
            rows += more
        if together:
            pieces.append(Piece(len(pieces), kind, tuple(together)))
    return pieces
