"""What can go wrong at a model server.

ModelError                     503  base: no answer from this model; another arm may have one
├── ModelBusyError             503  all of our connections to it are in use
├── ModelUnreachableError      503  no connection, or it broke before the first byte
├── ModelOverloadedError       503  429, or a 5xx: it can't at the moment
├── ModelTimeoutError          503  no first token, a stall, or an answer that takes too long
├── ModelInterruptedError      503  the stream broke off, or reported an error, after it began
├── ModelGarbledError          503  it answered something else than the protocol
├── ModelMisconfiguredError    503  wrong address, model or key
└── ModelRefusedError          400  it takes no such request: too long, or a wrong parameter

Messages never hold a key, nor what the server said, which may quote the prompt; that stands in
`said`, for the caller alone.
"""

from typing import ClassVar

from router.errors import RouterError


class ModelError(RouterError):
    """A model that gives no answer.

    `retryable`: the same request may be sent again at once. `trips`: it counts against the server,
    whose breaker opens after a few in a row; not where the fault lies with the request, or with us.
    """

    status = 503
    kind = "model-failed"
    retryable: ClassVar[bool] = False
    trips: bool = True

    def __init__(
        self,
        message: str,
        *,
        said: str = "",
        retry_after_s: float | None = None,
        trips: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.said = said
        self.retry_after_s = retry_after_s
        if trips is not None:
            self.trips = trips


class ModelBusyError(ModelError):
    """Too many requests of ours are under way."""

    trips = False


class ModelUnreachableError(ModelError):
    """Nothing was generated: the connection wasn't made, or broke before an answer."""

    retryable = True


class ModelOverloadedError(ModelError):
    """The server says that it can't at the moment."""

    retryable = True


class ModelTimeoutError(ModelError):
    """The time is gone, so it isn't tried again."""


class ModelInterruptedError(ModelError):
    """The answer broke off."""


class ModelGarbledError(ModelError):
    """An answer that isn't OpenAI's protocol."""


class ModelMisconfiguredError(ModelError):
    """The server is there, but not for this address, model or key."""


class ModelRefusedError(ModelError):
    """The server is well; the request isn't for it."""

    status = 400
    kind = "model-refused"
    trips = False
