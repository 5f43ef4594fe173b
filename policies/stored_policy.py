"""What every policy reads off its own artifact."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Artifact, Manifest, seal
from policies.errors import ArtifactError
from policies.posterior import Beliefs, Posterior
from policies.tenant_offsets import TenantOffsets

Tensors = Mapping[str, NDArray[Any]]
NO_TENSORS: Tensors = MappingProxyType({})

# How the names begin of tensors that any kind of policy may carry beside its own: what queries it
# knows, how sure it is, what is added for tenants.
_CARRIED = ("known_", "posterior_", "tenant_")


def carried_tensors(artifact: Artifact) -> dict[str, NDArray[Any]]:
    """Those of an artifact's tensors that don't depend on its kind."""
    return {name: tensor for name, tensor in artifact.tensors.items() if name.startswith(_CARRIED)}


class StoredPolicy:
    """Base of policies that keep the artifact they were made from or made."""

    _artifact: Artifact
    _posterior: Posterior | None = None
    _offsets: TenantOffsets

    def _keep(self, manifest: Manifest, own: Tensors, carried: Tensors) -> None:
        """Store the artifact of these tensors, and read what it carries.

        Raises:
            ArtifactError: the manifest is of other tensors, or a carried one doesn't fit it.
        """
        self._artifact = seal(manifest, {**own, **carried})
        if manifest.version not in ("", self._artifact.version):
            raise ArtifactError(
                f"policy {manifest.version} has tensors that no {manifest.kind} policy has",
                field="tensors",
            )
        self._posterior = Posterior.of_artifact(self._artifact)
        self._offsets = TenantOffsets.of_artifact(self._artifact)

    # Asked for by every decision, hence cached.
    @cached_property
    def name(self) -> str:
        return self._artifact.manifest.name

    @cached_property
    def version(self) -> str:
        return self._artifact.version

    @cached_property
    def _learned_from(self) -> str:
        """Why a learned policy leans as it does."""
        return f"learned from {self._artifact.manifest.training.get('rows', 'some')} rows"

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(self._artifact.manifest.arms)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self._artifact.manifest.metrics)

    @property
    def feature_version(self) -> str:
        return self._artifact.manifest.feature_version

    def expected(
        self, features: NDArray[np.float32], tenants: Sequence[str] | None = None
    ) -> NDArray[np.float64]:
        """As `policies.policy.Policy` says; each kind has its own."""
        raise NotImplementedError

    def beliefs(
        self, features: NDArray[np.float32], tenants: Sequence[str] | None = None
    ) -> Beliefs | None:
        """The posterior of everybody's rewards, moved by what the tenants' offsets make of them."""
        if self._posterior is None:
            return None
        beliefs = self._posterior.beliefs(features)
        if tenants is None or not len(self._offsets):
            return beliefs
        moved = self.expected(features, tenants) - self.expected(features)
        return beliefs._replace(means=beliefs.means + moved)

    def artifact(self) -> Artifact:
        return self._artifact
