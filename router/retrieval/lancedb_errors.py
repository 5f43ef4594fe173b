"""What LanceDB's errors mean. Its own words quote Rust source: only the debug log has them."""

import logging
import re

from router.retrieval.errors import RetrievalError

# LanceDB raises plain ValueError and RuntimeError for what its Rust side reports.
LANCEDB_ERRORS = (ValueError, RuntimeError, OSError)

_log = logging.getLogger(__name__)
_CAUSES = (
    (r"permission denied|access ?denied|forbidden|unauthorized", "access is denied"),
    (r"credential", "its storage's credentials are missing or wrong"),
    (r"not a directory", "its path is no directory"),
    (r"unable to create", "it can't be made there"),
    (r"no space left", "there is no space left"),
    (r"timed? ?out|sending request|connection|dns|resolve", "its storage can't be reached"),
    (r"not found|no such file|does not exist", "a part of it is missing"),
    (r"conflict", "another process was writing to it"),
)


def retrieval_error(error: Exception, what: str, *, query: str = "") -> RetrievalError:
    """`what` says what can't be done; the cause is added in a few words, never the query's."""
    said = str(error)
    _log.debug("%s: %s", what, said.replace(query, "…") if query else said)
    return RetrievalError(f"{what}: {_cause(said)}")


def _cause(said: str) -> str:
    fitting = (cause for sign, cause in _CAUSES if re.search(sign, said, re.IGNORECASE))
    return next(fitting, "it is damaged, or not in LanceDB's format")
