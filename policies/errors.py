"""What can go wrong on the ground floor.

PolicyError                      400  base: the message says what is wrong and what to do
├── QueryError                   400  a blank or over-long query
├── ArmError                     400  an unknown arm, or none is left to draw from
├── ObjectiveError               400  an unknown objective or metric, or a weight that isn't finite
├── SettingsError                500  a configuration that can't be used
├── EventError                   500  bytes that are no event of ours
├── EncoderError                 500  an encoder that can't be loaded or used
├── ExpectationError             500  a policy that expects something that is no number
├── ArtifactError                422  a policy that can't be read, or whose content was altered
│   └── PolicyFitError           409  a sound policy that doesn't fit this service's arms or encoder
├── UnknownPolicyError           404  a policy version that the registry doesn't hold
├── ShareError                   400  a canary's share that isn't between 0 and 1
├── AlreadyActiveError           409  a candidate that serves already
├── ActiveChangedError           409  what serves was changed meanwhile, or a rollout began
├── RolloutChangedError          409  another rollout was begun, or this one ended, meanwhile
└── RollbackError                409  nothing to roll back to
"""

from typing import ClassVar


class PolicyError(Exception):
    """Base of every error raised on purpose here.

    `status` is the HTTP status the service answers with, `kind` the stable last part of the
    problem's `type`, and `field` names the input at fault where there is one.
    """

    status: ClassVar[int] = 400
    kind: ClassVar[str] = "bad-request"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class QueryError(PolicyError):
    """A query that can't be routed."""

    kind = "bad-query"


class ArmError(PolicyError):
    """An arm nobody configured, or no eligible arm."""

    kind = "bad-arm"


class ObjectiveError(PolicyError):
    """An objective that can't be applied."""

    kind = "bad-objective"


class SettingsError(PolicyError):
    """A configuration that can't be used; the message names the key and the nearest right one."""

    status = 500
    kind = "bad-settings"


class ExpectationError(PolicyError):
    """A policy whose expectations aren't finite numbers."""

    status = 500
    kind = "bad-expectations"


class EventError(PolicyError):
    """Bytes that don't decode to an event."""

    status = 500
    kind = "bad-event"


class EncoderError(PolicyError):
    """An encoder that can't be loaded or used."""

    status = 500
    kind = "bad-encoder"


class ArtifactError(PolicyError):
    """A policy artifact that can't be read or was altered since it was written."""

    status = 422
    kind = "bad-policy"


class PolicyFitError(ArtifactError):
    """A sound artifact that doesn't fit the service's arms or features."""

    status = 409
    kind = "policy-does-not-fit"


class UnknownPolicyError(PolicyError):
    """A policy version that isn't in the registry."""

    status = 404
    kind = "unknown-policy"


class RollbackError(PolicyError):
    """A rollback where the built-in rules already serve."""

    status = 409
    kind = "nothing-to-roll-back"


class ShareError(PolicyError):
    """A share of the draws that no canary can have."""

    kind = "bad-share"


class AlreadyActiveError(PolicyError):
    """A rollout of the policy that is active."""

    status = 409
    kind = "already-active"


class ActiveChangedError(PolicyError):
    """An activation in place of what isn't active any more, or while a rollout is under way."""

    status = 409
    kind = "active-changed"


class RolloutChangedError(PolicyError):
    """A rollout that isn't the one that was looked at any more."""

    status = 409
    kind = "rollout-changed"
