"""A client of Qdrant, as the retriever and the index open it."""

import math
from collections.abc import Callable

from qdrant_client import AsyncQdrantClient

from router.settings import RetrieverSettings


def qdrant_connector(
    settings: RetrieverSettings, api_key: str | None, *, timeout_s: float
) -> Callable[[], AsyncQdrantClient]:
    """What makes a client of the settings' server, or of the local mode in their directory.

    Nothing is sent yet; the local mode locks its directory, which one process at a time may hold.
    """

    def connect() -> AsyncQdrantClient:
        if settings.path is not None:
            return AsyncQdrantClient(path=settings.path)
        # Whole seconds, and later than the caller's own limit, which tells better what happened.
        # The check for a fitting version would ask the server here, and wait for it.
        return AsyncQdrantClient(
            url=settings.url,
            api_key=api_key,
            timeout=math.ceil(timeout_s) + 1,
            check_compatibility=False,
        )

    return connect
