"""Logged rounds: decisions with what is known of them, as typed arrays."""

from dataclasses import dataclass, fields
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.fit.folds import Ints

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class RoundCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What the join found, for people and for the manifest."""

    decisions: int
    with_feedback: int
    feedback_values: int
    orphan_feedback: int
    superseded_feedback: int
    absurd_feedback: int = 0
    rare_metrics: list[str] = []
    fallbacks: int
    duplicate_rows: int
    other_features: int
    unexplored: int
    pending: int = 0


def time_order(at: Floats, ids: NDArray[np.object_]) -> Ints:
    """(n,) the order of rounds by time, then by decision id: however a log was cut into parts, its
    rounds have one order.
    """
    order = np.argsort(at, kind="stable")
    same = at[order][1:] == at[order][:-1]
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
        rows = order[tied].tolist()
        order[tied] = sorted(rows, key=lambda row: (at[row], ids[row]))
    return order


@dataclass(frozen=True, slots=True)
class LoggedRounds:
    """n rounds, A arms, M metrics, d features, in order of time.

    features (n, d) float32; action (n,) the drawn arm; pscore (n,) its propensity; probabilities
    (n, A), 0 for masked arms; eligible (n, A); values (n, M) reported metrics, NaN where not;
    expected (n, A, M) what the serving policy expected, NaN where it said nothing; weights (n, M)
    each request's objective; groups (n,) the same number for near-duplicate queries; at (n,)
    seconds since the epoch; attributes (n,) a dict each; audited (n,) whether the outcome was asked
    for at random; out_of_distribution (n,). While a candidate is in shadow or canary: candidates
    (n,) its version, empty else; candidate_probabilities (n, A) and candidate_share (n,).
    """

    decision_ids: NDArray[np.object_]
    at: Floats
    tenants: NDArray[np.object_]
    query_hashes: NDArray[np.object_]
    groups: Ints
    features: NDArray[np.float32]
    feature_version: str
    arms: tuple[str, ...]
    action: Ints
    pscore: Floats
    probabilities: Floats
    eligible: Bools
    metrics: tuple[str, ...]
    values: Floats
    expected: Floats
    weights: Floats
    policy_versions: NDArray[np.object_]
    attributes: NDArray[np.object_]
    audited: Bools
    out_of_distribution: Bools
    candidates: NDArray[np.object_]
    candidate_probabilities: Floats
    candidate_share: Floats
    counts: RoundCounts

    def __len__(self) -> int:
        return len(self.at)

    def rows(self, index: NDArray[Any]) -> "LoggedRounds":
        """Some of the rounds, by position or mask; a run of them shares its memory with these."""
        taken = _run_of(index)
        chosen = {
            field.name: getattr(self, field.name)[taken]
            for field in fields(self)
            if field.name not in ("feature_version", "arms", "metrics", "counts")
        }
        return LoggedRounds(
            **chosen,
            feature_version=self.feature_version,
            arms=self.arms,
            metrics=self.metrics,
            counts=self.counts,
        )

    @property
    def explored(self) -> Bools:
        """(n,) whether every eligible arm could have been drawn; others can't be reweighted."""
        return np.asarray(((self.probabilities > 0.0) | ~self.eligible).all(axis=1))

    @property
    def observed(self) -> Bools:
        """(M,) whether a metric was reported at all."""
        return np.asarray((~np.isnan(self.values)).any(axis=0))


def _run_of(index: NDArray[Any]) -> NDArray[Any] | slice:
    """The same positions, as a slice where they follow one another.

    Most selections of rounds are by time, in which they lie, and of a large log's features a copy
    takes longer than what is done with them.
    """
    rows = np.flatnonzero(index) if index.dtype == np.bool_ else index
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
