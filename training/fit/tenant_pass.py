"""The passes for tenants: residuals around the chosen candidate, and what offsets would gain."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from training.fit.cluster_sums import ClusterSums
from training.fit.folds import Ints
from training.fit.heads import Heads
from training.fit.row_sums import added
from training.fit.target_pass import Nuisance
from training.fit.tenant_effects import TenantRows, TenantSums, tenant_sums
from training.fit.training_rows import FoldRows, TrainingPart
from training.fit.value_pass import chosen_arms, utilities
from training.log.rounds import Floats


class AroundHeads(NamedTuple):
    """What tenants are compared with: by fold, heads (A, M, d) that never saw it; and the tenants
    that have enough queries, by name.
    """

    nuisance: Nuisance
    heads: Mapping[int, Heads]
    tenants: tuple[str, ...]

    def of(self, rows: FoldRows) -> TenantRows:
        """One fold's logged rounds."""
        draws = self.nuisance.draws(rows)
        return TenantRows(
            tenants=numbered(rows.rounds.tenants.tolist(), self.tenants),
            groups=rows.groups,
            scores=self.heads[rows.fold].scores(draws.scaled),
            gamma=self.nuisance.gamma(draws, rows.fold),
            inverse=draws.inverse,
            usable=rows.rounds.eligible,
        )


def numbered(names: Sequence[str], tenants: Sequence[str]) -> Ints:
    """(n,) each round's tenant as its position among these, −1 for others."""
    position = {tenant: number for number, tenant in enumerate(tenants)}
    return np.array([position.get(name, -1) for name in names], dtype=np.intp)


def tenant_part(part: TrainingPart, around: AroundHeads) -> dict[int, TenantSums]:
    """A part's sums by fold."""
    found: dict[int, TenantSums] = {}
    for rows in part.read():
        if len(rows.rounds) and rows.fold in around.heads:
            sums = tenant_sums(around.of(rows), len(around.tenants))
            found = added(found, {rows.fold: sums})
    return found


def gained_part(
    part: TrainingPart, around: AroundHeads, offsets: Mapping[int, Floats]
) -> ClusterSums | None:
    """Doubly robust value of the arms chosen with their fold's offsets (T, A, M), less that of
    those chosen without; None of a part without rounds to learn from.
    """
    found: ClusterSums | None = None
    for rows in part.read():
        if len(rows.rounds) and rows.fold in offsets:
            gained = ClusterSums.of(_gained(rows, around, offsets[rows.fold]), rows.groups)
            found = gained if found is None else found.plus(gained)
    return found


def _gained(rows: FoldRows, around: AroundHeads, offsets: Floats) -> Floats:
    """(n, 1)."""
    seen = around.of(rows)
    # A round of no such tenant has the last row, of zeros.
    moved = seen.scores + np.concatenate([offsets, np.zeros((1, *offsets.shape[1:]))])[seen.tenants]
    earned = utilities(rows, around.nuisance, seen.gamma)
    each = np.arange(len(earned))
    with_them, alone = (
        earned[each, chosen_arms(rows, utilities(rows, around.nuisance, expected))]
        for expected in (moved, seen.scores)
    )
    return np.asarray(with_them - alone)[:, None]
