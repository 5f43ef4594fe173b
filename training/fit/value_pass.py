"""The fourth pass: what every candidate would have earned on the fold that it never saw."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from training.fit.cluster_sums import ClusterSums
from training.fit.heads import Heads
from training.fit.target_pass import Nuisance
from training.fit.training_rows import FoldRows, TrainingPart
from training.log.rounds import Floats


class Judged(NamedTuple):
    """Candidates to judge, C of them: by fold, their heads (C·A, M, d) that never saw it; and which
    of them is the default.
    """

    nuisance: Nuisance
    heads: Mapping[int, Heads]
    default: int


class ValueSums(NamedTuple):
    """Doubly robust values over the incumbent's: of C candidates and A fixed arms, and of the
    candidates over the default; choices (C, A); the incumbent's own, in all.
    """

    advantage: ClusterSums
    ahead: ClusterSums
    choices: Floats
    incumbent: float

    def plus(self, other: "ValueSums") -> "ValueSums":
        """Of both parts."""
        return ValueSums(
            self.advantage.plus(other.advantage),
            self.ahead.plus(other.ahead),
            self.choices + other.choices,
            self.incumbent + other.incumbent,
        )


def value_sums(part: TrainingPart, judged: Judged) -> ValueSums | None:
    """A part's logged rounds', None where it has none to learn from."""
    found: ValueSums | None = None
    for rows in part.read():
        if len(rows.rounds) and rows.fold in judged.heads:
            mine = _of_fold(rows, judged)
            found = mine if found is None else found.plus(mine)
    return found


def _of_fold(rows: FoldRows, judged: Judged) -> ValueSums:
    rounds, heads = rows.rounds, judged.heads[rows.fold]
    draws = judged.nuisance.draws(rows)
    earned = utilities(rows, judged.nuisance, judged.nuisance.gamma(draws, rows.fold))
    arms = len(rounds.arms)
    expected = heads.expected(draws.scaled)
    taken = [
        chosen_arms(rows, utilities(rows, judged.nuisance, expected[:, start : start + arms]))
        for start in range(0, expected.shape[1], arms)
    ]
    incumbent = (earned * rounds.probabilities).sum(axis=1)
    each = np.arange(len(rounds))
    candidates = np.column_stack([earned[each, arm] for arm in taken]) - incumbent[:, None]
    ahead = candidates - candidates[:, [judged.default]]
    groups = rows.groups
    return ValueSums(
        ClusterSums.of(np.hstack([candidates, earned - incumbent[:, None]]), groups),
        ClusterSums.of(ahead, groups),
        np.array([np.bincount(arm, minlength=arms) for arm in taken], dtype=np.float64),
        float(incumbent.sum()),
    )


def utilities(rows: FoldRows, nuisance: Nuisance, metrics: Floats) -> Floats:
    """(n, A) from (n, A, M), under each round's objective; a metric that was never reported counts
    as what was expected of it.
    """
    if not nuisance.observed.all():
        metrics = np.where(nuisance.observed, metrics, np.nan_to_num(rows.rounds.expected))
    return np.asarray((metrics @ rows.weights[:, :, None])[:, :, 0])


def chosen_arms(rows: FoldRows, liked: Floats) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """(n,) the eligible arms of the highest utility (n, A)."""
    return np.asarray(np.where(rows.rounds.eligible, liked, -np.inf).argmax(axis=1))
