"""A reward model's numbers: what each arm's metrics are expected to be, from a query's features.

A sum of blocks, each a fixed map of the features with one linear head per arm and metric:

- linear: the features themselves.
- landmarks: exp(−γ·‖z − l‖²), how like the query is to each of a few landmark queries l, with z the
  scaled features (radial basis functions on landmarks: Williams and Seeger 2001, "Using the Nyström
  method to speed up kernel machines").
- hidden: max(0, z·W + b), the hidden layer of small neural networks.

Metrics that lie in 0..1 are clipped to it. Shapes: d features, A arms, M metrics, m landmarks, h
hidden units; heads are (A, M, block's width).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.errors import ArtifactError
from policies.policy import Floats
from policies.row_products import row_products

Singles = NDArray[np.float32]
_ZERO = np.float32(0.0)


class Scaling(NamedTuple):
    """z = (features − shift) · scale, both (d,)."""

    shift: Singles
    scale: Singles

    def apply(self, features: Singles) -> Singles:
        """(n, d) scaled features."""
        return (features - self.shift) * self.scale


class Landmarks(NamedTuple):
    """points (m, d) on scaled features, and γ."""

    points: Singles
    gamma: float

    def similarities(self, scaled: Singles) -> Singles:
        """(n, m), each within 0..1."""
        square = np.einsum("nd,nd->n", scaled, scaled)[:, None]
        own = np.einsum("md,md->m", self.points, self.points)
        cross = scaled @ self.points.T
        # Rounding can make a distance slightly negative, where the point is a landmark itself.
        distance = np.maximum(square + own - 2.0 * cross, 0.0)
        return np.asarray(np.exp(np.float32(-self.gamma) * distance))


class HiddenLayer(NamedTuple):
    """weights (d, h) on scaled features, bias (h,)."""

    weights: Singles
    bias: Singles

    def activations(self, scaled: Singles) -> Singles:
        """(n, h), none negative."""
        return np.asarray(np.maximum(scaled @ self.weights + self.bias, np.float32(0.0)))


class RewardModel(NamedTuple):
    """The blocks and their heads; a block that isn't used is None.

    `intercepts` is (A, M) and `bounded` (M,) says which metrics lie in 0..1.
    """

    scaling: Scaling
    intercepts: Floats
    bounded: NDArray[np.bool_]
    linear: Singles
    landmarks: Landmarks | None = None
    landmark_heads: Singles | None = None
    hidden: HiddenLayer | None = None
    hidden_heads: Singles | None = None

    def expected(self, features: Singles) -> Floats:
        """(n, A, M) expected metrics for features (n, d)."""
        return RewardEvaluator(self).expected(features)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """As an artifact holds it."""
        tensors: dict[str, NDArray[Any]] = {
            "shift": self.scaling.shift,
            "scale": self.scaling.scale,
            "intercepts": self.intercepts,
            "bounded": self.bounded.astype(np.uint8),
            "linear": self.linear,
        }
        if self.landmarks is not None and self.landmark_heads is not None:
            tensors["landmarks"] = self.landmarks.points
            tensors["landmark_gamma"] = np.array([self.landmarks.gamma])
            tensors["landmark_heads"] = self.landmark_heads
        if self.hidden is not None and self.hidden_heads is not None:
            tensors["hidden_weights"] = self.hidden.weights
            tensors["hidden_bias"] = self.hidden.bias
            tensors["hidden_heads"] = self.hidden_heads
        return tensors


class RewardEvaluator:
    """A reward model laid out to be evaluated a row at a time: two matrix products a query."""

    def __init__(self, model: RewardModel) -> None:
        """Stack what is multiplied with the scaled features, and what with the blocks."""
        d, self._shape = len(model.scaling.shift), model.intercepts.shape
        heads = self._shape[0] * self._shape[1]
        points, gamma = model.landmarks or Landmarks(np.zeros((0, d), np.float32), 0.0)
        weights, bias = model.hidden or HiddenLayer(
            np.zeros((d, 0), np.float32), np.zeros(0, np.float32)
        )
        blocks = [model.linear.reshape(heads, d).T, 2.0 * gamma * points.T, weights]
        self._scaling = model.scaling
        # A product with a column of γ: the sum of a row's squares in half the time.
        self._square = np.full((d, 1), gamma, dtype=np.float32)
        self._towards = np.ascontiguousarray(np.hstack(blocks), dtype=np.float32)
        self._landmarks = len(points)
        # −γ·|l|² for landmarks, the bias for hidden units.
        own = -gamma * (points.astype(np.float64) ** 2).sum(axis=1)
        self._own = np.concatenate([own, bias]).astype(np.float32)
        after = [
            block.reshape(heads, -1).T
            for block in (model.landmark_heads, model.hidden_heads)
            if block is not None
        ]
        together = np.vstack(after) if after else np.zeros((0, heads))
        # Few columns are multiplied twice as fast the other way about.
        self._heads = np.asfortranarray(together, dtype=np.float32)
        self._intercepts = model.intercepts.reshape(-1).astype(np.float64)
        shape = self._shape
        self._upper = np.broadcast_to(np.where(model.bounded, 1.0, np.inf), shape).copy()
        self._lower = np.broadcast_to(np.where(model.bounded, 0.0, -np.inf), shape).copy()

    def expected(self, features: Singles) -> Floats:
        """(n, A, M) expected metrics for features (n, d)."""
        return self.bounds(self.scores(features))

    def scores(self, features: Singles) -> Floats:
        """(n, A, M) the sum of the blocks."""
        scaled = features - self._scaling.shift
        scaled *= self._scaling.scale
        products = row_products(scaled, self._towards)
        sums, blocks = products[:, : len(self._intercepts)], products[:, len(self._intercepts) :]
        if len(self._heads):
            self._activate(scaled, blocks)
            sums += row_products(blocks, self._heads)
        return np.asarray((sums + self._intercepts).reshape(-1, *self._shape))

    def _activate(self, scaled: Singles, blocks: Singles) -> None:
        """Products (n, m + h) into similarities to the landmarks and hidden units, in place."""
        blocks += self._own
        similar, hidden = blocks[:, : self._landmarks], blocks[:, self._landmarks :]
        similar -= row_products(scaled * scaled, self._square)
        np.exp(similar, out=similar)  # above 1 by no more than rounding: a square is never negative
        np.maximum(hidden, _ZERO, out=hidden)

    def bounds(self, scores: Floats) -> Floats:
        """Scores (n, A, M), those of metrics that lie in 0..1 clipped to it."""
        bounded = np.maximum(scores, self._lower)
        np.minimum(bounded, self._upper, out=bounded)
        return np.asarray(bounded)


def read_reward_model(tensors: Mapping[str, NDArray[Any]], arms: int, metrics: int) -> RewardModel:
    """The model in an artifact's tensors.

    Raises:
        ArtifactError: a tensor is missing, has another shape, or holds a number that isn't finite.
    """
    d = len(_tensor(tensors, "shift", (None,)))
    heads = (arms, metrics)
    model = RewardModel(
        scaling=Scaling(_tensor(tensors, "shift", (d,)), _tensor(tensors, "scale", (d,))),
        intercepts=_tensor(tensors, "intercepts", heads, np.float64),
        bounded=_tensor(tensors, "bounded", (metrics,), np.uint8).astype(np.bool_),
        linear=_tensor(tensors, "linear", (*heads, d)),
    )
    if "landmarks" in tensors:
        points = _tensor(tensors, "landmarks", (None, d))
        gamma = float(_tensor(tensors, "landmark_gamma", (1,), np.float64)[0])
        model = model._replace(
            landmarks=Landmarks(points, gamma),
            landmark_heads=_tensor(tensors, "landmark_heads", (*heads, len(points))),
        )
    if "hidden_weights" in tensors:
        weights = _tensor(tensors, "hidden_weights", (d, None))
        width = weights.shape[1]
        model = model._replace(
            hidden=HiddenLayer(weights, _tensor(tensors, "hidden_bias", (width,))),
            hidden_heads=_tensor(tensors, "hidden_heads", (*heads, width)),
        )
    return model


def _tensor(
    tensors: Mapping[str, NDArray[Any]],
    name: str,
    shape: tuple[int | None, ...],
    kind: type[np.generic] = np.float32,
) -> NDArray[Any]:
    """One tensor, of this shape (None: any length) and type."""
    if name not in tensors:
        raise ArtifactError(f"the policy has no tensor {name!r}", field="tensors")
    tensor = tensors[name]
    fits = tensor.ndim == len(shape) and all(
        wanted in (None, length) for wanted, length in zip(shape, tensor.shape, strict=True)
    )
    if not fits or tensor.dtype != kind:
        raise ArtifactError(
            f"tensor {name!r} is {tensor.dtype} of shape {tensor.shape}, not {np.dtype(kind)} of "
            f"{shape}",
            field="tensors",
        )
    if not np.isfinite(tensor).all():
        raise ArtifactError(f"tensor {name!r} holds numbers that aren't finite", field="tensors")
    return tensor
