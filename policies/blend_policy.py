"""A blended reward model per arm and metric: what training on outcomes ships."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Artifact, Manifest, seal
from policies.errors import ArtifactError
from policies.policy import Floats
from policies.reward_model import RewardModel, read_reward_model
from policies.stored_policy import StoredPolicy


class BlendPolicy(StoredPolicy):
    """Expected metrics by a `RewardModel`."""

    kind: ClassVar[str] = "blend"

    def __init__(self, manifest: Manifest, model: RewardModel) -> None:
        """Store the model.

        Raises:
            ArtifactError: the model doesn't fit the manifest, or the manifest is of other tensors.
        """
        shape = (len(manifest.arms), len(manifest.metrics))
        self._artifact = seal(manifest, model.tensors())
        self._model = read_reward_model(self._artifact.tensors, *shape)
        if manifest.version not in ("", self._artifact.version):
            raise ArtifactError(
                f"policy {manifest.version} has tensors that no blend has", field="tensors"
            )

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> "BlendPolicy":
        """The policy in an artifact.

        Raises:
            ArtifactError: a tensor is missing or doesn't fit.
        """
        manifest = artifact.manifest
        model = read_reward_model(artifact.tensors, len(manifest.arms), len(manifest.metrics))
        return cls(manifest, model)

    def expected(self, features: NDArray[np.float32]) -> Floats:
        if features.shape[1] != len(self._model.scaling.shift):
            raise ArtifactError(
                f"policy {self.version} reads {len(self._model.scaling.shift)} features, not "
                f"{features.shape[1]}",
                field="features",
            )
        return self._model.expected(features)

    def reasons(self, features: NDArray[np.float32]) -> list[str]:  # noqa: ARG002
        return [f"learned from {self._artifact.manifest.training.get('rows', 'some')} rows"]
