"""What a log tells, cross-fitted: for every set of folds to learn from, what candidates need."""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import NamedTuple

import numpy as np

from training.amounts import good_direction
from training.fit.candidates import MIN_ARM_ROWS, Evidence
from training.fit.feature_scale import FeatureScale
from training.fit.folds import Ints
from training.fit.heads import Heads
from training.fit.joint_model import JointModel
from training.fit.log_counts import Counts
from training.fit.moments import Moments
from training.fit.ridge import Ridges
from training.fit.row_sums import RowSums
from training.fit.target_pass import TargetSums
from training.fit.training_rows import FOLDS
from training.log.rounds import Bools, Floats


class SampledRows(NamedTuple):
    """Scaled rows (s, d) and the fold of each (s,)."""

    scaled: Floats
    folds: Ints


class LogEvidence(NamedTuple):
    """What all passes but the last found.

    moments: of scaled features; targets: by fold; metrics: their names; rows: a sample's.
    """

    counts: Counts
    moments: Moments
    scale: FeatureScale
    joint: JointModel
    targets: Mapping[int, TargetSums]
    metrics: tuple[str, ...]
    rows: SampledRows

    def without(self, fold: int) -> Evidence | None:
        """What the other folds tell, from reward models that saw neither this fold nor the row's
        own; None where there is no other.
        """
        others = sorted(self.targets.keys() - {fold})
        return self._evidence(others, fold) if others else None

    def everything(self) -> Evidence:
        """What all folds tell."""
        return self._evidence(sorted(self.targets), None)

    def _evidence(self, folds: list[int], without: int | None) -> Evidence:
        slots = {fold: fold if without is None else without for fold in folds}
        targets = [self.targets[fold] for fold in folds]
        rows = self._sums(folds)
        masked = [self._marked(self.moments.masked, folds, arm) for arm in range(self._arms)]
        silent = _total(self.moments.silent[f] for f in folds if f in self.moments.silent)
        both = [self._marked(self.moments.silent_masked, folds, arm) for arm in range(self._arms)]
        told = rows.minus(silent)
        return Evidence(
            rows=rows.rows,
            usable=Ridges([rows if out is None else rows.minus(out) for out in masked]),
            told=Ridges(
                [
                    told if out is None else told.minus(out.minus(twice))
                    for out, twice in zip(masked, both, strict=True)
                ]
            ),
            xy=_sum(self.targets[fold].xy[:, slot] for fold, slot in slots.items()),
            y=_sum(self.targets[fold].y[slot] for fold, slot in slots.items()),
            yy=_sum(self.targets[fold].yy[slot] for fold, slot in slots.items()),
            x_expected=_sum(one.x_expected for one in targets),
            expected=_sum(one.expected for one in targets),
            supported=self.supported,
            signs=self.signs,
            joint=self._joint_heads(frozenset() if without is None else {without}),
            tells_apart=self.counts.tells_apart,
            some=self.rows.scaled[self.rows.folds != (-1 if without is None else without)],
        )

    @property
    def _arms(self) -> int:
        return len(self.counts.any_metric)

    def _sums(self, folds: Iterable[int]) -> RowSums:
        found = _total(self.moments.rows[fold] for fold in folds)
        assert found is not None
        return found

    def _marked(
        self, sums: Mapping[tuple[int, int], RowSums], folds: Iterable[int], arm: int
    ) -> RowSums | None:
        return _total(sums[fold, arm] for fold in folds if (fold, arm) in sums)

    @property
    def supported(self) -> Bools:
        """(A,) arms with enough reported draws to be learned."""
        return np.asarray(self.counts.any_metric >= MIN_ARM_ROWS)

    @property
    def signs(self) -> Floats:
        """(M,) +1 where more of a metric is better, −1 where less is."""
        weights = (self.counts.weights / max(self.counts.rows, 1)).tolist()
        low, high = self.counts.values.low.min(axis=0), self.counts.values.high.max(axis=0)
        ends = np.where(np.isfinite([low, high]), [low, high], np.nan)
        return np.array(
            [good_direction(name, ends[:, m], weights[m]) for m, name in enumerate(self.metrics)]
        )

    def _joint_heads(self, without: frozenset[int] | set[int]) -> Heads:
        """A metric that was never reported keeps what the serving policy expected of each arm."""
        observed, heads = self.counts.observed, self.joint.heads(without)
        return heads._replace(
            coefficients=np.where(observed[:, None], heads.coefficients, 0.0),
            intercepts=np.where(observed, heads.intercepts, self.counts.prior),
        )


def nested_heads(joint: JointModel) -> dict[int, Heads]:
    """By fold g, heads (F·A, M, d) that saw neither g nor, arm by arm within f, fold f."""
    known: dict[frozenset[int], Heads] = {}
    for one in range(FOLDS):
        for other in range(one, FOLDS):
            folds = frozenset({one, other})
            known[folds] = joint.heads(folds)
    return {
        one: Heads(
            np.concatenate([known[frozenset({one, f})].coefficients for f in range(FOLDS)]),
            np.concatenate([known[frozenset({one, f})].intercepts for f in range(FOLDS)]),
            known[frozenset({one})].links,
        )
        for one in range(FOLDS)
    }


def _sum(parts: Iterable[Floats]) -> Floats:
    return np.asarray(sum(parts))


def _total(sums: Iterable[RowSums]) -> RowSums | None:
    kept = list(sums)
    return reduce(RowSums.plus, kept) if kept else None
