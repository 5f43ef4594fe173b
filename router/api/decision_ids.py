"""Decision ids as callers write them."""

import re

from router.errors import BadRequestError

COMPLETION_PREFIX = "chatcmpl-"
_DECISION_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def canonical_decision_id(text: str, *, field: str) -> str:
    """The id in its one spelling, so that feedback joins however the caller wrote it.

    Raises:
        BadRequestError: it is no UUID in the usual form; stored as it is, it would join nothing.
    """
    # A chat completion's id is all that most OpenAI clients show.
    canonical = text.lower().removeprefix(COMPLETION_PREFIX)
    if not _DECISION_ID.fullmatch(canonical):
        raise BadRequestError(f"{text[:64]!r} is no decision id", field=field)
    return canonical
