"""Sums over rows that regressions are solved from; those of a log's parts add up."""

from collections.abc import Hashable, Mapping
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np

from training.fit.feature_scale import FeatureScale
from training.log.rounds import Bools, Floats


class Addable(Protocol):
    """Sums over some rows."""

    def plus(self, other: Self) -> Self:
        """Over both sets of rows."""
        ...


Key = TypeVar("Key", bound=Hashable)
Sums = TypeVar("Sums", bound=Addable)


def added(one: Mapping[Key, Sums], other: Mapping[Key, Sums]) -> dict[Key, Sums]:
    """Sums by key; one that only one side has is that side's."""
    found = dict(one)
    for key, sums in other.items():
        found[key] = found[key].plus(sums) if key in found else sums
    return found


class RowSums(NamedTuple):
    """Of rows x (n, d): how many, Σ x (d,), Σ x·xᵀ (d, d)."""

    rows: float
    x: Floats
    xx: Floats

    @classmethod
    def of(cls, x: Floats) -> "RowSums":
        """Of these rows."""
        return cls(float(len(x)), x.sum(axis=0), x.T @ x)

    @classmethod
    def empty(cls, dimension: int) -> "RowSums":
        """Of no row."""
        return cls(0.0, np.zeros(dimension), np.zeros((dimension, dimension)))

    def plus(self, other: "RowSums") -> "RowSums":
        """Of both sets of rows."""
        return RowSums(self.rows + other.rows, self.x + other.x, self.xx + other.xx)

    def minus(self, other: "RowSums | None") -> "RowSums":
        """Without rows that are among them."""
        if other is None:
            return self
        return RowSums(self.rows - other.rows, self.x - other.x, self.xx - other.xx)

    def scaled(self, scale: FeatureScale) -> "RowSums":
        """Of the scaled rows (x − shift) · scale."""
        x = self.x - self.rows * scale.shift
        cross = np.outer(self.x, scale.shift)
        xx = self.xx - cross - cross.T + self.rows * np.outer(scale.shift, scale.shift)
        return RowSums(self.rows, x * scale.scale, xx * np.outer(scale.scale, scale.scale))

    @property
    def centred(self) -> Floats:
        """(d, d) Σ (x − mean)·(x − mean)ᵀ."""
        return np.asarray(self.xx - np.outer(self.x, self.x) / max(self.rows, 1.0))


class HeadSums(NamedTuple):
    """Of rows and what is known of one arm's metric y on them: Σ y, Σ y², Σ x·y (d,) as well."""

    of: RowSums
    y: float
    yy: float
    xy: Floats

    def plus(self, other: "HeadSums") -> "HeadSums":
        """Of both sets of rows."""
        return HeadSums(
            self.of.plus(other.of), self.y + other.y, self.yy + other.yy, self.xy + other.xy
        )

    def scaled(self, scale: FeatureScale) -> "HeadSums":
        """Of the scaled rows."""
        xy = (self.xy - self.y * scale.shift) * scale.scale
        return self._replace(of=self.of.scaled(scale), xy=xy)


def head_sums(x: Floats, values: Floats) -> list[HeadSums]:
    """Of one arm's metrics, values (n, M) with NaN where unknown; metrics that are known on the
    same rows share their sums of squares, and where most rows are known the others are taken off.
    """
    whole: RowSums | None = None
    shared: dict[bytes, RowSums] = {}
    found = []
    for y in values.T:
        known = ~np.isnan(y)
        if (key := known.tobytes()) not in shared:
            if 2 * int(known.sum()) > len(known):
                whole = whole or RowSums.of(x)
                shared[key] = whole if known.all() else whole.minus(RowSums.of(x[~known]))
            else:
                shared[key] = RowSums.of(x[known])
        told = np.where(known, y, 0.0)
        found.append(HeadSums(shared[key], float(told.sum()), float(told @ told), x.T @ told))
    return found


def masked_sums(x: Floats, masks: Bools) -> dict[int, RowSums]:
    """By column of masks (n, c), the sums of the rows that it marks; none where it marks none."""
    return {c: RowSums.of(x[mask]) for c, mask in enumerate(masks.T) if mask.any()}
