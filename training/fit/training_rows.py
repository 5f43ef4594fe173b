"""The rows that are learned from, one part of the log and one fold at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.fit.folds import Digests, Ints, group_numbers, hashed_folds, row_digests
from training.log.partitions import RoundsPart, RoundsParts
from training.log.rounds import Bools, Floats, LoggedRounds, time_order
from training.utility import check_objective, objective_weights

FOLDS = 5


class WarmRows(NamedTuple):
    """Full-information rows beside a log: features (k, d), values (k, A, M) in the log's order."""

    features: NDArray[np.float32]
    values: Floats
    query_hashes: list[str]

    def rows(self, index: NDArray[np.bool_]) -> "WarmRows":
        """Some of them."""
        hashes = [name for name, taken in zip(self.query_hashes, index, strict=True) if taken]
        return WarmRows(self.features[index], self.values[index], hashes)

    @property
    def digests(self) -> Digests:
        """(k,) of their queries."""
        return row_digests(self.query_hashes, [f"warm {row}" for row in range(len(self.values))])


@dataclass(frozen=True)
class FoldRows:
    """Rows of one fold in one part of the log: n logged rounds, then k warm rows.

    weights (n, M) each round's objective; features (n+k, d); groups (n+k,) equal for near-duplicate
    queries; digests (n+k,) of the queries, the same in every part; warm (k, A, M) the outcomes.
    """

    fold: int
    rounds: LoggedRounds
    weights: Floats
    features: NDArray[np.float32]
    groups: Ints
    digests: Digests
    warm: Floats

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def usable(self) -> Bools:
        """(n+k, A) where an arm could be taken, or its outcome is known."""
        known = (~np.isnan(self.warm)).any(axis=2)
        return np.concatenate([self.rounds.eligible, known])

    @property
    def expected(self) -> Floats:
        """(n+k, A, M) what the serving policy expected, NaN where it said nothing."""
        return np.concatenate([self.rounds.expected, np.full(self.warm.shape, np.nan)])


@dataclass(frozen=True)
class TrainingPart:
    """A part of the log to learn from: its explored rounds up to a time, and the warm rows whose
    queries it holds.

    objective: the weights by which candidates are compared, None for each round's own.
    """

    part: RoundsPart
    until: float
    seed: int
    objective: Mapping[str, float] | None
    warm: WarmRows | None = None

    def read(self) -> Iterator[FoldRows]:
        """Fold by fold, those that the part has rows of."""
        yield from self.folds_of(self.part.read())

    def folds_of(self, rounds: LoggedRounds) -> Iterator[FoldRows]:
        """As `read`, of the part's rounds."""
        mine = np.flatnonzero(rounds.explored & (rounds.at <= self.until))
        hashes = rounds.query_hashes[mine].tolist()
        digests = row_digests(hashes, rounds.decision_ids[mine].tolist())
        groups = rounds.groups[mine]
        if self.warm is not None:
            digests = np.concatenate([digests, self.warm.digests])
            groups = group_numbers([*hashes, *self.warm.query_hashes])
        folds = hashed_folds(digests, FOLDS, self.seed)
        for fold in np.unique(folds).tolist():
            theirs = folds == fold
            logged = rounds.rows(mine[theirs[: len(mine)]])
            features, warm = logged.features, np.zeros((0, *rounds.expected.shape[1:]))
            if self.warm is not None:
                taken = theirs[len(mine) :]
                features = np.concatenate([features, self.warm.features[taken]])
                warm = self.warm.values[taken]
            yield FoldRows(
                fold=fold,
                rounds=logged,
                weights=objective_weights(logged, self.objective),
                features=features,
                groups=groups[theirs],
                digests=digests[theirs],
                warm=warm,
            )


def joined_rounds(parts: list[LoggedRounds]) -> LoggedRounds:
    """Rounds of several parts as one, by time and id; groups of different parts stay apart."""
    if len(parts) == 1:
        return parts[0]
    first, start, numbered = parts[0], 0, []
    for part in parts:
        numbered.append(part.groups + start)
        start += int(part.groups.max(initial=-1)) + 1
    of_all: dict[str, Any] = {"groups": np.concatenate(numbered)}
    kept = ("feature_version", "arms", "metrics", "counts")
    of_all |= {name: getattr(first, name) for name in kept}
    for field in fields(LoggedRounds):
        if field.name not in of_all:
            of_all[field.name] = np.concatenate([getattr(part, field.name) for part in parts])
    joined = LoggedRounds(**of_all)
    return joined.rows(time_order(joined.at, joined.decision_ids))


def training_parts(
    rounds: RoundsParts,
    until: float,
    seed: int,
    objective: Mapping[str, float] | None,
    warm: WarmRows | None = None,
) -> list[TrainingPart]:
    """The log's parts to learn from, each with the warm rows whose queries may be in it.

    Raises:
        ObjectiveError: the objective weighs a metric that the log doesn't have.
    """
    check_objective(objective, rounds.metrics)
    theirs = [warm] * len(rounds.parts)
    if warm is not None and len(rounds.parts) > 1:
        part_of = rounds.part_of(warm.query_hashes)
        theirs = [warm.rows(part_of == number) for number in range(len(rounds.parts))]
    return [
        TrainingPart(part, until, seed, objective, rows)
        for part, rows in zip(rounds.parts, theirs, strict=True)
    ]
