"""What Thompson sampling believes of each arm: Bayesian linear regressions, stored compactly.

Beside its heads a policy may carry, per arm and metric, the posterior of a linear regression of the
metric on the arm's own draws (Bishop 2006, "Pattern Recognition and Machine Learning", 3.3). With z
the features scaled and centred on those n draws, the mean is linear in z and the variance is

    noise · (1/n + zᵀ (ZᵀZ + αI)⁻¹ z),

the first term the intercept's. With ZᵀZ = Σ λᵢ vᵢvᵢᵀ the inverse is kept as its top eigenvectors
and an isotropic remainder ρ, the mean of 1/(λⱼ + α) over the others:

    ρ|z|² − Σᵢ (ρ − 1/(λᵢ + α)) (vᵢ·z)².
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Artifact
from policies.errors import ArtifactError
from policies.row_products import row_products

Floats = NDArray[np.float64]

_PREFIX = "posterior_"


class Beliefs(NamedTuple):
    """means and variances (n, A, M) of each arm's expected metrics; or, of utilities, (n, A)."""

    means: Floats
    variances: Floats


def utility_beliefs(beliefs: Beliefs | None, weights: Floats) -> Beliefs | None:
    """Beliefs (n, A) of utilities from those of metrics (n, A, M); None of None.

    `weights` is (n, M), or (M,) for all rows. The variance is Σ weight² · variance: given the arm,
    metrics' errors are taken as independent.
    """
    if beliefs is None:
        return None
    column = np.atleast_2d(weights)[:, :, None]
    return Beliefs((beliefs.means @ column)[:, :, 0], (beliefs.variances @ column**2)[:, :, 0])


class PosteriorTensors(NamedTuple):
    """A arms, M metrics, d features, r directions an arm.

    coefficients (A, M, d) and intercepts (A, M): the mean, on features as they are; scale (d,) and
    centres (A, d): z = features · scale − centre; directions (A, r, d) orthonormal; gains
    (A, M, r), what is taken off the remainder (A, M) along each; rows (A, M) n; noise (A, M), in
    the metric's unit squared.
    """

    coefficients: NDArray[np.float32]
    intercepts: Floats
    scale: NDArray[np.float32]
    centres: NDArray[np.float32]
    directions: NDArray[np.float32]
    gains: Floats
    remainder: Floats
    rows: Floats
    noise: Floats


class Posterior:
    """Evaluates a posterior: one matrix product for all arms and metrics."""

    def __init__(self, tensors: PosteriorTensors) -> None:
        """Store the posterior.

        Raises:
            ArtifactError: a tensor has another shape than the others ask for, or makes no variance.
        """
        _check(tensors)
        self._tensors = tensors
        _, self._directions, dimension = tensors.directions.shape
        self._shape = tensors.intercepts.shape
        # A centre is one more direction, so that |z|² = |f|² − 2 f·c + |c|² needs no (n, A, d).
        parts = (
            tensors.coefficients.reshape(-1, dimension),
            (tensors.directions * tensors.scale).reshape(-1, dimension),
            tensors.centres * tensors.scale,
        )
        self._matrix = np.ascontiguousarray(np.concatenate(parts).T, dtype=np.float32)
        self._cuts = len(parts[0]), len(parts[0]) + len(parts[1])
        self._offsets = np.einsum("ard,ad->ar", tensors.directions, tensors.centres)
        self._gains = np.ascontiguousarray(tensors.gains.transpose(0, 2, 1))
        self._least = 1.0 / tensors.rows
        self._lengths = (tensors.centres.astype(np.float64) ** 2).sum(axis=1)

    @classmethod
    def of_artifact(cls, artifact: Artifact) -> "Posterior | None":
        """The posterior that an artifact of any kind carries, None where it carries none.

        Raises:
            ArtifactError: a part is missing, or doesn't fit the others or the manifest.
        """
        held = artifact.tensors
        names = [_PREFIX + name for name in PosteriorTensors._fields]
        if not any(name in held for name in names):
            return None
        missing = [name for name in names if name not in held]
        shape = (len(artifact.manifest.arms), len(artifact.manifest.metrics))
        if missing or held[_PREFIX + "intercepts"].shape != shape:
            raise ArtifactError(
                f"policy {artifact.version} has a posterior that doesn't fit its manifest's "
                f"{shape[0]} arms and {shape[1]} metrics",
                field=missing[0] if missing else _PREFIX + "intercepts",
            )
        return cls(PosteriorTensors(*(held[name] for name in names)))

    @property
    def parts(self) -> PosteriorTensors:
        """Its mean and its variance, as they are stored."""
        return self._tensors

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """As an artifact carries them."""
        return {_PREFIX + name: tensor for name, tensor in self._tensors._asdict().items()}

    def beliefs(self, features: NDArray[np.float32]) -> Beliefs:
        """Of metrics, for features (n, d) as they are.

        Raises:
            ArtifactError: it reads another number of features.
        """
        if features.shape[1] != len(self._matrix):
            raise ArtifactError(
                f"the posterior reads {len(self._matrix)} features, not {features.shape[1]}",
                field="features",
            )
        products = row_products(features, self._matrix).astype(np.float64)
        heads, others = self._cuts
        means, along, towards = products[:, :heads], products[:, heads:others], products[:, others:]
        scaled = features * self._tensors.scale
        length = (scaled * scaled).sum(axis=1, dtype=np.float64)[:, None]
        apart = length - 2.0 * towards + self._lengths
        squares = (along.reshape(-1, self._shape[0], self._directions) - self._offsets) ** 2
        known = self._tensors
        # (n, A, 1, r) @ (A, r, M); gains never exceed the remainder: what is below 0 is rounding.
        taken = (squares[:, :, None] @ self._gains)[:, :, 0]
        spread = np.maximum(known.remainder * apart[:, :, None] - taken, 0.0)
        return Beliefs(
            means.reshape(-1, *self._shape) + known.intercepts,
            known.noise * (self._least + spread),
        )


def _check(tensors: PosteriorTensors) -> None:
    if tensors.directions.ndim != 3 or tensors.intercepts.ndim != 2:
        raise ArtifactError("a posterior needs directions (A, r, d)", field=_PREFIX + "directions")
    arms, count, dimension = tensors.directions.shape
    metrics = tensors.intercepts.shape[1]
    shapes: dict[str, tuple[int, ...]] = {
        "coefficients": (arms, metrics, dimension),
        "intercepts": (arms, metrics),
        "scale": (dimension,),
        "centres": (arms, dimension),
        "directions": (arms, count, dimension),
        "gains": (arms, metrics, count),
        "remainder": (arms, metrics),
        "rows": (arms, metrics),
        "noise": (arms, metrics),
    }
    for name, shape in shapes.items():
        tensor: NDArray[Any] = getattr(tensors, name)
        if tensor.shape != shape or not np.isfinite(tensor).all():
            raise ArtifactError(
                f"a posterior's {name} must be finite numbers of shape {shape}",
                field=_PREFIX + name,
            )
    if not ((tensors.rows > 0.0).all() and (tensors.noise >= 0.0).all()):
        raise ArtifactError(
            "a posterior needs rows and noise to be positive", field=_PREFIX + "rows"
        )
