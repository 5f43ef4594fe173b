"""A client of Qdrant, as the retriever and the index open it."""

import math

from qdrant_client import AsyncQdrantClient


def connect_qdrant(
    *, url: str | None, path: str | None, api_key: str | None, timeout_s: float
) -> AsyncQdrantClient:
    """A client of the server at `url`, or of the local mode in the directory `path`.

    Nothing is sent yet; the local mode locks its directory, which one process at a time may hold.
    """
    if path is not None:
        return AsyncQdrantClient(path=path)
    # Whole seconds, and later than the caller's own limit, which tells better what happened. The
    # check for a fitting version would ask the server here, and wait for it.
    return AsyncQdrantClient(
        url=url, api_key=api_key, timeout=math.ceil(timeout_s) + 1, check_compatibility=False
    )
