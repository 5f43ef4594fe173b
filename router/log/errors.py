"""What can go wrong with the log.

PolicyError
└── LogError                     500  base
    ├── StoreUnavailableError    503  the store doesn't answer, or answers with an error
    └── SpoolError               500  the spool directory can't be used
"""

from policies.errors import PolicyError


class LogError(PolicyError):
    """Base of the log's errors."""

    status = 500
    kind = "log"


class StoreUnavailableError(LogError):
    """The store doesn't answer in time, or refuses; what was to be written goes to the spool."""

    status = 503
    kind = "store-unavailable"


class SpoolError(LogError):
    """The spool directory can't be used; the message names it and says what to do."""

    kind = "spool"
