"""What is counted over the logged rounds that are learned from."""

from typing import NamedTuple

import numpy as np

from training.fit.folds import Ints
from training.fit.training_rows import FoldRows
from training.log.rounds import Bools, Floats, LoggedRounds
from training.reporting.probabilities import ReportingCounts


class Extent(NamedTuple):
    """The range (A, M) of some numbers."""

    low: Floats
    high: Floats

    @classmethod
    def of(cls, values: Floats) -> "Extent":
        """Of values (n, A, M), NaN where unknown."""
        known = ~np.isnan(values)
        return cls(
            np.where(known, values, np.inf).min(axis=0, initial=np.inf),
            np.where(known, values, -np.inf).max(axis=0, initial=-np.inf),
        )

    def plus(self, other: "Extent") -> "Extent":
        """Of both."""
        return Extent(np.minimum(self.low, other.low), np.maximum(self.high, other.high))


class Counts(NamedTuple):
    """What is counted of logged rounds, n in all.

    with_value: those with any value; window: first and last time; queries: different ones; weights
    (M,): Σ of the objectives'; expected (2, A, M): Σ and how many; of_policy: the range of what was
    expected where all was; reported (A, M): values by arm; any_metric (A,): draws with a value, and
    warm rows; values: the range, of warm rows' too; reporting: by metric; tenants: different
    reported queries by name.
    """

    rows: int
    with_value: int
    window: tuple[float, float]
    queries: int
    weights: Floats
    expected: Floats
    of_policy: Extent
    reported: Floats
    any_metric: Floats
    values: Extent
    reporting: tuple[ReportingCounts, ...]
    tenants: dict[str, int]

    def plus(self, other: "Counts") -> "Counts":
        """Of both parts."""
        tenants = dict(self.tenants)
        for name, queries in other.tenants.items():
            tenants[name] = tenants.get(name, 0) + queries
        return Counts(
            self.rows + other.rows,
            self.with_value + other.with_value,
            (min(self.window[0], other.window[0]), max(self.window[1], other.window[1])),
            self.queries + other.queries,
            self.weights + other.weights,
            self.expected + other.expected,
            self.of_policy.plus(other.of_policy),
            self.reported + other.reported,
            self.any_metric + other.any_metric,
            self.values.plus(other.values),
            tuple(a.plus(b) for a, b in zip(self.reporting, other.reporting, strict=True)),
            tenants,
        )

    @property
    def prior(self) -> Floats:
        """(A, M) the mean of what the serving policy expected; 0 where it never said."""
        return np.asarray(self.expected[0] / np.maximum(self.expected[1], 1.0))

    @property
    def tells_apart(self) -> bool:
        """Whether the serving policy expected different things of different queries."""
        spread = self.of_policy.high - self.of_policy.low
        return bool(np.isfinite(spread).all() and spread.max(initial=0.0) > 1e-6)

    @property
    def observed(self) -> Bools:
        """(M,) whether a metric was reported at all."""
        return np.asarray(self.reported.any(axis=0))


def counts_of(rows: FoldRows) -> Counts:
    """Of one fold's rows, with a logged one at least."""
    rounds = rows.rounds
    arms, metrics = len(rounds.arms), len(rounds.metrics)
    known, expects = ~np.isnan(rounds.values), ~np.isnan(rounds.expected)
    drawn_arm = np.eye(arms)[rounds.action]
    values = np.where(drawn_arm[:, :, None] > 0.0, rounds.values[:, None, :], np.nan)
    warm = (~np.isnan(rows.warm)).any(axis=2).sum(axis=0)
    groups = rows.groups[: len(rounds)]
    return Counts(
        rows=len(rounds),
        with_value=int(known.any(axis=1).sum()),
        window=(float(rounds.at.min()), float(rounds.at.max())),
        queries=len(np.unique(groups)),
        weights=rows.weights.sum(axis=0),
        expected=np.stack([np.nansum(rounds.expected, axis=0), expects.sum(axis=0)]),
        of_policy=Extent.of(rounds.expected[expects.all(axis=(1, 2))]),
        reported=drawn_arm.T @ known.astype(np.float64),
        any_metric=drawn_arm.T @ known.any(axis=1).astype(np.float64) + warm,
        values=Extent.of(np.concatenate([values, rows.warm])),
        reporting=tuple(ReportingCounts.of(rounds, known[:, m]) for m in range(metrics)),
        tenants=_tenants(rounds, groups, np.asarray(known.any(axis=1))),
    )


def _tenants(rounds: LoggedRounds, groups: Ints, reported: Bools) -> dict[str, int]:
    """Different reported queries of every named tenant."""
    queries = {name: 0 for name in rounds.tenants.tolist() if name}
    pairs = set(zip(rounds.tenants[reported].tolist(), groups[reported].tolist(), strict=True))
    for name, _ in pairs:
        if name:
            queries[name] += 1
    return queries
