"""A blended reward model per arm and metric: what training on outcomes ships."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Artifact, Manifest
from policies.errors import ArtifactError
from policies.policy import Floats
from policies.reward_model import RewardEvaluator, RewardModel, read_reward_model
from policies.stored_policy import NO_TENSORS, StoredPolicy, Tensors, carried_tensors


class BlendPolicy(StoredPolicy):
    """Expected metrics by a `RewardModel`; a known tenant's offsets are added to its scores."""

    kind: ClassVar[str] = "blend"

    def __init__(
        self, manifest: Manifest, model: RewardModel, *, carried: Tensors = NO_TENSORS
    ) -> None:
        """Store the model, and what any policy may carry beside it (`policies.stored_policy`).

        Raises:
            ArtifactError: the model doesn't fit the manifest, or the manifest is of other tensors.
        """
        self._keep(manifest, model.tensors(), carried)
        shape = (len(manifest.arms), len(manifest.metrics))
        checked = read_reward_model(self._artifact.tensors, *shape)
        self._dimension, self._rewards = len(checked.scaling.shift), RewardEvaluator(checked)

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> "BlendPolicy":
        """The policy in an artifact.

        Raises:
            ArtifactError: a tensor is missing or doesn't fit.
        """
        manifest = artifact.manifest
        model = read_reward_model(artifact.tensors, len(manifest.arms), len(manifest.metrics))
        return cls(manifest, model, carried=carried_tensors(artifact))

    def expected(
        self, features: NDArray[np.float32], tenants: Sequence[str] | None = None
    ) -> Floats:
        if features.shape[1] != self._dimension:
            raise ArtifactError(
                f"policy {self.version} reads {self._dimension} features, not {features.shape[1]}",
                field="features",
            )
        scores = self._offsets.added(self._rewards.scores(features), tenants)
        return self._rewards.bounds(scores)

    def reasons(self, features: NDArray[np.float32]) -> list[str]:  # noqa: ARG002
        return [self._learned_from]
