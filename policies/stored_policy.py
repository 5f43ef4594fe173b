"""What every policy reads off its own artifact."""

from policies.artifact import Artifact


class StoredPolicy:
    """Base of policies that keep the artifact they were made from or made."""

    _artifact: Artifact

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

    def artifact(self) -> Artifact:
        return self._artifact
