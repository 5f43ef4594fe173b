"""What every policy reads off its own artifact."""

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Artifact
from policies.posterior import Beliefs, Posterior


class StoredPolicy:
    """Base of policies that keep the artifact they were made from or made."""

    _artifact: Artifact
    _posterior: Posterior | None = None

    @property
    def name(self) -> str:
        return self._artifact.manifest.name

    @property
    def version(self) -> str:
        return self._artifact.version

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(self._artifact.manifest.arms)

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self._artifact.manifest.metrics)

    @property
    def feature_version(self) -> str:
        return self._artifact.manifest.feature_version

    def beliefs(self, features: NDArray[np.float32]) -> Beliefs | None:
        return None if self._posterior is None else self._posterior.beliefs(features)

    def artifact(self) -> Artifact:
        return self._artifact
