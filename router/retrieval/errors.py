"""What can go wrong in looking documents up.

RetrievalError                 503  base: the documents can't be searched now
└── IndexMissingError          503  nothing has been indexed there yet
"""

from router.errors import RouterError


class RetrievalError(RouterError):
    """The documents can't be searched."""

    status = 503
    kind = "retrieval-failed"


class IndexMissingError(RetrievalError):
    """There is no index there, or none that fits the encoder."""

    kind = "index-missing"
