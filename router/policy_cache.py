"""The last active policy on local disk, to serve while the registry can't be reached."""

import logging
import shutil
from pathlib import Path

from policies.artifact import Artifact, read_artifact, write_artifact
from policies.errors import ArtifactError

_LOGGER = logging.getLogger(__name__)


class PolicyCache:
    """`<data>/policies/active/`: one artifact, or none while the built-in rules serve."""

    def __init__(self, data: Path) -> None:
        self._directory = data / "policies" / "active"

    def read(self) -> Artifact | None:
        """The cached policy; None without one, or where it is damaged."""
        if not self._directory.exists():
            return None
        try:
            return read_artifact(self._directory)
        except ArtifactError as error:
            _LOGGER.warning("the cached policy is left out: %s", error)
            return None

    def write(self, artifact: Artifact | None) -> None:
        """Keep this policy, or none. A cache that can't be written is logged, not fatal."""
        try:
            if artifact is None:
                shutil.rmtree(self._directory, ignore_errors=True)
            else:
                write_artifact(artifact, self._directory)
        except (OSError, ArtifactError) as error:
            _LOGGER.warning("the active policy can't be cached: %s", error)
