"""What queries a policy knows: how far a query lies from those it was trained on.

A query's distance is the squared one to the nearest of a few prototypes (means of clusters of the
training rows) in scaled features. Its conformal p-value is its rank among the distances of training
rows that the prototypes haven't seen, p = (1 + #{calibration ≥ distance}) / (m + 1), so that
P(p ≤ α) ≤ α for a query from the training distribution: split-conformal (Vovk, Gammerman and
Shafer 2005, "Algorithmic learning in a random world"; Laxhammar and Falkman 2010). The rate is an
average over calibration samples; with fewer than 1/α − 1 rows of them nothing is ever flagged.

The artifact of any kind of policy may carry these tensors; a policy without them knows of nothing
that would be foreign to it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Artifact
from policies.errors import ArtifactError
from policies.question import QUESTION_FEATURES
from policies.row_products import row_products

Floats = NDArray[np.float64]

PREFIX = "known_"
# Distances and projections are counted in whole steps of 1 / _STEPS, so that one query's don't
# depend on the company in which they are computed, and equal queries tie.
_STEPS = 1e4


class KnownQueries:
    """Distances, p-values and drift channels of queries, relative to a policy's training rows.

    Tensors, each with PREFIX, for d features, K prototypes, m calibration rows, R directions, C
    channels and E edges: shift (d,), scale (d,), prototypes (K, d) on scaled features, distances
    (m,) ascending, directions (R, d) on scaled features, edges (C, E) ascending, counts
    (C, 2·E + 1) of calibration rows by bin.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take the tensors, with their names' prefix.

        Raises:
            ArtifactError: one is missing, or their shapes don't fit each other.
        """
        names = ("shift", "scale", "prototypes", "distances", "directions", "edges", "counts")
        try:
            given = {name: tensors[PREFIX + name] for name in names}
        except KeyError as error:
            raise ArtifactError(f"what the policy knows lacks tensor {error}") from error
        _check_shapes(given)
        self._scale = given["scale"].astype(np.float32)
        self._shift = given["shift"].astype(np.float32) * self._scale
        # |x·s − shift − c|² = x²·s² − 2·x·(s·(shift + c)) + |shift + c|²: two products a query.
        centres = given["prototypes"].astype(np.float64) + self._shift
        self._squared_scale = self._scale[:, None] ** 2
        self._towards = np.ascontiguousarray((-2.0 * centres * self._scale).T, dtype=np.float32)
        self._offsets = (centres**2).sum(axis=1).astype(np.float32)
        self._calibration = given["distances"].astype(np.float32)
        # By how many calibration rows are nearer: p = (1 + those at least as far) / (1 + all).
        known = len(self._calibration)
        self._p_values = np.arange(known + 1.0, 0.0, -1.0) / (known + 1.0)
        self._limits: dict[float, float] = {}
        self._directions = np.ascontiguousarray(given["directions"].T, dtype=np.float32)
        self._edges = given["edges"].astype(np.float64)
        self.counts = given["counts"].astype(np.int64)
        """(C, 2·E + 1) calibration rows in each bin."""

    @classmethod
    def of(cls, artifact: Artifact) -> "KnownQueries | None":
        """What the policy in an artifact knows; None where it doesn't say.

        Raises:
            ArtifactError: its tensors don't fit each other.
        """
        tensors = known_tensors(artifact.tensors)
        return cls(tensors) if tensors else None

    @property
    def dimension(self) -> int:
        """The features of a query."""
        return len(self._scale)

    @property
    def channels(self) -> tuple[str, ...]:
        """What drift is looked for in: the distance, each question feature, each direction."""
        directions = self._directions.shape[1]
        return ("distance", *QUESTION_FEATURES, *(f"topic {d + 1}" for d in range(directions)))

    def distances(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) squared distances of features (n, d) to the nearest prototype, in steps."""
        return np.asarray(np.rint(self._squared(features) * np.float32(_STEPS)))

    def _squared(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) squared distances."""
        towards = row_products(features, self._towards)
        towards += self._offsets
        nearest = np.minimum.reduce(towards, axis=1)
        nearest += row_products(features * features, self._squared_scale)[:, 0]
        return np.asarray(nearest)

    def p_values(self, features: NDArray[np.float32]) -> Floats:
        """(n,) conformal p-values: small where a query is unlike the training rows."""
        nearer = self._calibration.searchsorted(self.distances(features))
        return np.asarray(self._p_values[nearer])

    def foreign(self, features: NDArray[np.float32], alpha: float) -> list[tuple[int, float]]:
        """Rows of features (n, d) with a p-value of at most alpha, and their p-values."""
        # Almost all rows are much nearer than any flagged one: the farthest tells.
        if max(self._squared(features).tolist(), default=0.0) <= self._least_foreign(alpha):
            return []
        p_values = self.p_values(features)
        return [(row, float(p_values[row])) for row in np.flatnonzero(p_values <= alpha).tolist()]

    def _least_foreign(self, alpha: float) -> float:
        """A squared distance a step below the least that has a p-value of at most alpha."""
        if alpha not in self._limits:
            flagged = np.flatnonzero(self._p_values <= alpha)
            # p-values fall with the number of nearer rows; that of none is 1.
            nearest = self._calibration[flagged[0] - 1] if len(flagged) else np.inf
            self._limits[alpha] = (float(nearest) - 1.0) / _STEPS
        return self._limits[alpha]

    def bins(self, values: Floats) -> NDArray[np.intp]:
        """(n, C) the bin of each channel's value: on an edge, or between two.

        Question features have few values, so most of their edges are such values.
        """
        return np.stack(
            [
                edges.searchsorted(column, side="left") + edges.searchsorted(column, side="right")
                for edges, column in zip(self._edges, values.T, strict=True)
            ],
            axis=1,
        )

    def channel_values(self, features: NDArray[np.float32]) -> Floats:
        """(n, C) what each channel reads off features (n, d)."""
        projections = (features * self._scale - self._shift) @ self._directions
        questions = features[:, -len(QUESTION_FEATURES) :]
        steps = np.rint(projections * _STEPS)
        return np.column_stack([self.distances(features), questions, steps]).astype(np.float64)


def known_tensors(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Those of an artifact's tensors that say what its policy knows."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}


def _check_shapes(given: Mapping[str, NDArray[Any]]) -> None:
    dimension = len(given["shift"]) if given["shift"].ndim == 1 else -1
    channels = 1 + len(QUESTION_FEATURES) + len(given["directions"])
    bins = given["counts"].shape[-1]
    fits = (
        given["scale"].shape == (dimension,)
        and given["prototypes"].shape == (len(given["prototypes"]), dimension)
        and len(given["prototypes"]) > 0
        and given["directions"].shape == (len(given["directions"]), dimension)
        and given["distances"].ndim == 1
        and given["edges"].shape == (channels, (bins - 1) // 2)
        and given["counts"].shape == (channels, 2 * ((bins - 1) // 2) + 1)
        and bool((given["counts"] >= 0).all())
    )
    if not fits:
        shapes = ", ".join(f"{name} {tensor.shape}" for name, tensor in given.items())
        raise ArtifactError(
            f"what the policy knows has tensors that don't fit each other: {shapes}",
            field="tensors",
        )
