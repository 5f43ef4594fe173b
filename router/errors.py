"""What can go wrong in the service, beside what can go wrong on the ground floor.

PolicyError (policies.errors)
└── RouterError                  500  base of the service's own
    ├── EmbeddedStoreError       500  the service's own store can't be had
    │   └── StoreInUseError      409  another service runs on the data directory
    ├── BadRequestError          400  a request whose parts don't fit together
    ├── SlowBodyError            408  a body that doesn't arrive in time
    ├── EncoderBusyError         503  too many decisions wait for a slow encoder; Retry-After
    ├── KeyRequiredError         401  no key, or a wrong one
    ├── AdminKeyRequiredError    403  an admin endpoint without the admin key
    ├── OtherTenantError         403  a tenant's key, and another tenant's name
    ├── UnknownDecisionError     404  a decision that isn't in the log (any more)
    ├── CallerGoneError          499  a caller that hung up
    ├── UnknownModelError        404  a chat request for a name that isn't offered
    └── IdempotencyConflictError 422  an Idempotency-Key used again for something else

The log, the models, the retrievers and the answers have their own trees, each in its errors.py.
"""

from policies.errors import PolicyError


class RouterError(PolicyError):
    """Base of the service's own errors.

    `decision_id` is that of the decision that was being carried out.
    """

    decision_id: str | None = None
    status = 500
    kind = "internal"


class EmbeddedStoreError(RouterError):
    """The embedded store can't be started; the message says why and what to do."""

    status = 500
    kind = "embedded-store"


class StoreInUseError(EmbeddedStoreError):
    """Another service runs on the same data directory."""

    status = 409
    kind = "data-in-use"


class BadRequestError(RouterError):
    """A request that decodes, but whose parts don't fit together."""

    status = 400
    kind = "bad-request"


class SlowBodyError(RouterError):
    """A body that doesn't arrive in time."""

    status = 408
    kind = "slow-body"


class EncoderBusyError(RouterError):
    """More decisions are waiting for the encoder than may."""

    status = 503
    kind = "encoder-busy"
    retry_after_s = 1


class KeyRequiredError(RouterError):
    """No key, or one that isn't known."""

    status = 401
    kind = "key-required"


class AdminKeyRequiredError(RouterError):
    """An admin endpoint without the admin key."""

    status = 403
    kind = "admin-key-required"


class OtherTenantError(RouterError):
    """A request in another tenant's name than its key's."""

    status = 403
    kind = "other-tenant"


class UnknownDecisionError(RouterError):
    """A decision that the log doesn't hold."""

    status = 404
    kind = "unknown-decision"


class CallerGoneError(RouterError):
    """A caller that didn't wait for the answer."""

    status = 499
    kind = "caller-gone"


class UnknownModelError(RouterError):
    """A chat request for a model that isn't offered here."""

    status = 404
    kind = "unknown-model"


class IdempotencyConflictError(RouterError):
    """An Idempotency-Key that was used for another body."""

    status = 422
    kind = "idempotency-conflict"
