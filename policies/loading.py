"""From an artifact back to the policy it holds: one entry per kind."""

from collections.abc import Callable, Mapping

import numpy as np

from policies.artifact import Artifact
from policies.blend_policy import BlendPolicy
from policies.errors import ArtifactError
from policies.linear_policy import LinearPolicy
from policies.policy import Policy
from policies.rule_policy import RulePolicy

# Arms, or metrics, of one policy: what a request can be told about without harm.
MOST = 64

_KINDS: Mapping[str, Callable[[Artifact], Policy]] = {
    BlendPolicy.kind: BlendPolicy.from_artifact,
    LinearPolicy.kind: LinearPolicy.from_artifact,
    RulePolicy.kind: RulePolicy.from_artifact,
}


def load_policy(artifact: Artifact) -> Policy:
    """The policy in an artifact.

    Raises:
        ArtifactError: this release doesn't know its kind, or its tensors don't fit its manifest.
    """
    load = _KINDS.get(artifact.manifest.kind)
    if load is None:
        raise ArtifactError(
            f"policy {artifact.version} is of kind {artifact.manifest.kind!r}, which this release "
            f"doesn't know (it knows {', '.join(_KINDS)}): upgrade it",
            field="kind",
        )
    manifest = artifact.manifest
    for name, values in (("arms", manifest.arms), ("metrics", manifest.metrics)):
        if not 1 <= len(values) <= MOST or len(set(values)) < len(values):
            raise ArtifactError(
                f"policy {artifact.version} must have 1 to {MOST} different {name}", field=name
            )
    unfit = [name for name, tensor in artifact.tensors.items() if not np.isfinite(tensor).all()]
    if unfit:
        raise ArtifactError(
            f"policy {artifact.version} has numbers that aren't finite in {', '.join(unfit)}",
            field="tensors",
        )
    return load(artifact)
