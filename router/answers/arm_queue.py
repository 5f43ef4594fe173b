"""Which arm answers next: the drawn one, then the best that doesn't need what has just failed."""

from collections.abc import Sequence

from router.answers.backends import Backends, EquippedArm
from router.answers.errors import ArmFailedError, NothingFoundError
from router.api.schemas import ArmOutlook
from router.models.errors import ModelError, ModelRefusedError
from router.retrieval.errors import RetrievalError

ArmFailure = ArmFailedError | ModelError | RetrievalError


class ArmQueue:
    """The eligible arms in the order in which they are taken, and what went wrong so far."""

    def __init__(self, backends: Backends, outlooks: Sequence[ArmOutlook], drawn: str) -> None:
        self._backends = backends
        self._drawn = drawn
        eligible = [arm for arm in outlooks if arm.eligible]
        eligible.sort(key=lambda arm: (arm.arm != drawn, -arm.utility))
        self._waiting = [arm.arm for arm in eligible]
        self.failures: list[tuple[str, ArmFailure]] = []

    def next(self) -> EquippedArm | None:
        """Take the next arm that may answer; None where there is none left."""
        while self._waiting:
            name = self._waiting.pop(0)
            # For the drawn arm its breakers were asked before the draw, and a probe reserved.
            is_first = name == self._drawn and not self.failures
            reason = self._hopeless(name)
            if reason is None and not is_first:
                reason = self._backends.arm(name).why_not
            if reason is None:
                return self._backends.arm(name)
            self.failed(name, ArmFailedError(reason))
        return None

    def failed(self, name: str, error: ArmFailure) -> None:
        """Remember why an arm couldn't answer."""
        self.failures.append((name, error))

    def has_other_model(self, arm: EquippedArm) -> bool:
        """Whether an arm waits that could answer if this one's model were too slow."""
        for name in self._waiting:
            if name in self._backends.unequipped or self._hopeless(name) is not None:
                continue
            other = self._backends.arm(name)
            if other.model is not arm.model and other.why_not is None:
                return True
        return False

    def _hopeless(self, name: str) -> str | None:
        """Why it would fail for certain, after what has failed before it."""
        if name in self._backends.unequipped:
            return self._backends.unequipped[name]
        arm = self._backends.arm(name)
        for failed, error in self.failures:
            if failed in self._backends.unequipped:
                continue
            other = self._backends.arm(failed)
            if isinstance(error, ModelRefusedError) and arm.retriever is None:
                continue  # what was too long with passages may fit without
            if isinstance(error, ModelError) and arm.model is other.model:
                return "its model has just failed"
            if isinstance(error, RetrievalError | NothingFoundError) and (
                arm.retriever is not None and arm.retriever is other.retriever
            ):
                return "its retriever has just failed"
        return None
