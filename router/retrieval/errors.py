"""What can go wrong in looking documents up.

RetrievalError                 503  base: the documents can't be searched now
└── IndexMissingError          503  nothing has been indexed there yet
"""

from typing import ClassVar

from router.errors import RouterError


class RetrievalError(RouterError):
    """The documents can't be searched."""

    status = 503
    kind = "retrieval-failed"


class IndexMissingError(RetrievalError):
    """There is no index there, or none that fits the encoder."""

    kind = "index-missing"
    # It doesn't count against a circuit breaker: an index that is made a moment later should be
    # used at once, not after the breaker's pause.
    trips: ClassVar[bool] = False
