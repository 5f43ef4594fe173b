"""A linear reward model per arm and metric, on the features as they are: what training ships."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Artifact, Manifest
from policies.errors import ArtifactError
from policies.policy import Floats
from policies.row_products import row_products
from policies.stored_policy import NO_TENSORS, StoredPolicy, Tensors, carried_tensors

# A head's link: the metric itself, or its log-odds (for metrics within 0..1).
IDENTITY, LOGISTIC = 0, 1


class LinearPolicy(StoredPolicy):
    """Expected metric = link(features · coefficients + intercept), one head per arm and metric.

    A known tenant's offset is added under the link: a logistic head shifts in log-odds.

    A head with zero coefficients is an arm's mean: always taking one arm is a policy of this kind.
    """

    kind: ClassVar[str] = "linear"

    def __init__(
        self,
        manifest: Manifest,
        coefficients: NDArray[np.float32],
        intercepts: NDArray[np.float64],
        links: NDArray[np.int8],
        *,
        carried: Tensors = NO_TENSORS,
    ) -> None:
        """Store the heads.

        Args:
            manifest: arms and metrics in the order of the arrays; its version may still be empty.
            coefficients: (A, M, d).
            intercepts: (A, M).
            links: (M,) IDENTITY or LOGISTIC.
            carried: what any policy may carry beside its heads, see `policies.stored_policy`.

        Raises:
            ArtifactError: the shapes don't fit the manifest, or a number isn't finite.
        """
        shape = (len(manifest.arms), len(manifest.metrics))
        if coefficients.shape[:2] != shape or coefficients.ndim != 3 or intercepts.shape != shape:
            raise ArtifactError(
                f"policy {manifest.version} has heads of shape {coefficients.shape[:2]}, its "
                f"manifest names {shape[0]} arms and {shape[1]} metrics",
                field="tensors",
            )
        if links.shape != shape[1:] or not np.isin(links, (IDENTITY, LOGISTIC)).all():
            raise ArtifactError(f"policy {manifest.version} has unknown links", field="tensors")
        if not (np.isfinite(coefficients).all() and np.isfinite(intercepts).all()):
            raise ArtifactError(
                f"policy {manifest.version} has numbers that aren't finite", field="tensors"
            )
        own: Tensors = {"coefficients": coefficients, "intercepts": intercepts, "links": links}
        self._keep(manifest, own, carried)
        self._shape = shape
        self._dimension = coefficients.shape[2]
        # One matrix product serves every head; laid out (d, A·M) so that a single row is a gemv.
        flat = coefficients.reshape(shape[0] * shape[1], self._dimension)
        self._coefficients = np.ascontiguousarray(flat.T, dtype=np.float32)
        self._intercepts = intercepts.reshape(-1).astype(np.float64)
        self._logistic = links == LOGISTIC

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> "LinearPolicy":
        """The policy in an artifact.

        Raises:
            ArtifactError: a tensor is missing or doesn't fit.
        """
        try:
            names = ("coefficients", "intercepts", "links")
            coefficients, intercepts, links = (artifact.tensors[name] for name in names)
        except KeyError as error:
            raise ArtifactError(f"policy {artifact.version} has no tensor {error}") from error
        carried = carried_tensors(artifact)
        return cls(artifact.manifest, coefficients, intercepts, links, carried=carried)

    def expected(
        self, features: NDArray[np.float32], tenants: Sequence[str] | None = None
    ) -> Floats:
        if features.shape[1] != self._dimension:
            raise ArtifactError(
                f"policy {self.version} reads {self._dimension} features, not {features.shape[1]}",
                field="features",
            )
        flat = row_products(features, self._coefficients) + self._intercepts
        scores = self._offsets.added(flat.reshape(-1, *self._shape), tenants)
        bounded = 1.0 / (1.0 + np.exp(-np.clip(scores, -30.0, 30.0)))
        return np.where(self._logistic, bounded, scores)

    def reasons(self, features: NDArray[np.float32]) -> list[str]:  # noqa: ARG002
        return [self._learned_from]
