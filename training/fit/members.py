"""The members of a blend: reward models of several families, each at several penalties.

- linear: ridge regression on the features.
- landmarks: kernel ridge regression through landmark queries, that is prototypes whose outcomes a
  query like them shares.
- hidden: small neural networks, averaged (scikit-learn's MLPRegressor).

Every member predicts every arm's metrics, and all are linear in their own basis, so that a weighted
sum of members is one model.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from policies.reward_model import HiddenLayer
from training.fit.bases import Basis, Floats, LinearBasis, Singles, fit_landmarks
from training.fit.feature_scale import FeatureScale, fit_scale
from training.fit.heads import arm_means

LINEAR, LANDMARKS, HIDDEN = "linear", "landmarks", "hidden"
FAMILIES = (LINEAR, LANDMARKS, HIDDEN)
PENALTIES: dict[str, tuple[float, ...]] = {
    LINEAR: (10.0, 30.0, 100.0, 300.0),
    LANDMARKS: (1.0, 3.0, 10.0, 30.0),
    HIDDEN: (3.0,),
}
# Fewer rows of an arm than this say nothing about hundreds of coefficients.
MIN_HEAD_ROWS = 50
_NETWORKS, _UNITS = 3, 64
# Networks learn faster on features of about unit size.
_NETWORK_SCALE = 3.0


class Member(NamedTuple):
    """One reward model: coefficients (A, M, p) on its basis, intercepts (A, M)."""

    family: str
    penalty: float
    basis: Basis
    coefficients: Floats
    intercepts: Floats

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.family} {self.penalty:g}"

    def expected(self, features: Singles) -> Floats:
        """(n, A, M)."""
        arms, metrics, width = self.coefficients.shape
        flat = self.basis.apply(features) @ self.coefficients.reshape(arms * metrics, width).T
        return np.asarray(flat.reshape(-1, arms, metrics) + self.intercepts)


class HiddenBasis(NamedTuple):
    """The hidden layers of fitted networks, side by side."""

    scale: FeatureScale
    layer: HiddenLayer

    def apply(self, features: Singles) -> Floats:
        scaled = self.scale.apply(features).astype(np.float32)
        return np.asarray(self.layer.activations(scaled), dtype=np.float64)


def fit_members(
    features: Singles, values: Floats, *, seed: int, families: Sequence[str] = FAMILIES
) -> list[Member]:
    """Fit every member.

    Args:
        features: (n, d).
        values: (n, A, M) outcomes, NaN where unknown; each head is fitted on the rows that have it.
        seed: of landmarks and networks.
        families: which of FAMILIES.
    """
    members: list[Member] = []
    for family in families:
        if family == HIDDEN:
            members.append(_networks(features, values, seed))
            continue
        basis: Basis = (
            LinearBasis(fit_scale(features)) if family == LINEAR else fit_landmarks(features, seed)
        )
        members.extend(_ridges(family, basis, features, values))
    return members


def _ridges(family: str, basis: Basis, features: Singles, values: Floats) -> Iterator[Member]:
    """Ridge regression at every penalty, from one eigendecomposition for all heads that are known
    on the same rows.
    """
    penalties = np.array(PENALTIES[family])
    rows = basis.apply(features)
    _, arms, metrics = values.shape
    coefficients = np.zeros((len(penalties), arms * metrics, rows.shape[1]))
    flat = values.reshape(len(values), -1)
    means = head_means(values).ravel()
    intercepts = np.broadcast_to(means, (len(penalties), arms * metrics)).copy()
    for known, heads in _known_together(flat):
        if int(known.sum()) < MIN_HEAD_ROWS:
            continue
        x, y = rows[known], flat[known][:, heads]
        centre, mean = x.mean(axis=0), y.mean(axis=0)
        x = x - centre
        spectrum, directions = np.linalg.eigh(x.T @ x)
        projected = directions.T @ (x.T @ (y - mean))
        for p, penalty in enumerate(penalties):
            solution = directions @ (projected / (np.maximum(spectrum, 0.0) + penalty)[:, None])
            coefficients[p, heads] = solution.T
            intercepts[p, heads] = mean - centre @ solution
    for p, penalty in enumerate(penalties):
        heads_of = coefficients[p].reshape(arms, metrics, -1)
        yield Member(family, float(penalty), basis, heads_of, intercepts[p].reshape(arms, metrics))


def head_means(values: Floats) -> Floats:
    """(A, M) the mean of each head's known values; where it has none, of the metric's over all
    arms.
    """
    overall = arm_means(values.reshape(-1, 1, values.shape[2]), np.zeros(1))[0]
    return arm_means(values, overall)


def _known_together(flat: Floats) -> Iterator[tuple[NDArray[np.bool_], list[int]]]:
    """(n,) rows and the heads that are known on exactly these."""
    groups: dict[bytes, tuple[NDArray[np.bool_], list[int]]] = {}
    for head, known in enumerate((~np.isnan(flat)).T):
        groups.setdefault(known.tobytes(), (known, []))[1].append(head)
    yield from groups.values()


def _networks(features: Singles, values: Floats, seed: int) -> Member:
    """Networks with one hidden layer for all heads, on the rows where every head is known."""
    (penalty,) = PENALTIES[HIDDEN]
    scale = fit_scale(features)
    _, arms, metrics = values.shape
    flat = values.reshape(len(values), -1)
    known = ~np.isnan(flat).any(axis=1)
    mean = head_means(values).ravel()
    if int(known.sum()) < MIN_HEAD_ROWS:
        empty = HiddenLayer(np.zeros((features.shape[1], 1), np.float32), np.zeros(1, np.float32))
        heads = np.zeros((arms, metrics, 1))
        basis = HiddenBasis(scale, empty)
        return Member(HIDDEN, penalty, basis, heads, mean.reshape(arms, metrics))
    spread = flat[known].std(axis=0)
    spread = np.where(spread > 0.0, spread, 1.0)
    x = _NETWORK_SCALE * scale.apply(features)[known]
    y = (flat[known] - mean) / spread
    nets = [_network(x, y, penalty, seed + number) for number in range(_NETWORKS)]
    layer = HiddenLayer(
        np.hstack([_NETWORK_SCALE * net.coefs_[0] for net in nets]).astype(np.float32),
        np.concatenate([net.intercepts_[0] for net in nets]).astype(np.float32),
    )
    outputs = np.vstack([net.coefs_[1] for net in nets]) / _NETWORKS * spread
    offsets = np.mean([net.intercepts_[1] for net in nets], axis=0) * spread + mean
    return Member(
        HIDDEN,
        penalty,
        HiddenBasis(scale, layer),
        outputs.T.reshape(arms, metrics, -1),
        offsets.reshape(arms, metrics),
    )


def _network(x: Floats, y: Floats, penalty: float, seed: int) -> Any:
    net = MLPRegressor(
        hidden_layer_sizes=(_UNITS,),
        alpha=penalty,
        learning_rate_init=3e-3,
        max_iter=60,
        early_stopping=True,
        validation_fraction=0.15,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # Stopped early on purpose, by the rows kept back or by the bound on passes.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return net.fit(x, y if y.shape[1] > 1 else y[:, 0])
