"""What every adapter holds to: a time limit, and the encoder that the index was made with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from router.retrieval.errors import IndexMissingError, RetrievalError


@asynccontextmanager
async def answer_within(timeout_s: float, where: str) -> AsyncIterator[None]:
    """Cancel the block after so many seconds.

    Raises:
        RetrievalError: saying that `where` didn't answer.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise RetrievalError(f"{where} didn't answer within {timeout_s:g} s") from error


def require_encoder(made_with: str | None, wanted: str, where: str) -> None:
    """Refuse an index whose vectors another encoder made: distances to them mean nothing.

    Raises:
        IndexMissingError: saying what to do.
    """
    if made_with is None:
        raise IndexMissingError(
            f"{where} wasn't made by rag-router index: it doesn't say whose vectors it holds"
        )
    if made_with != wanted:
        raise IndexMissingError(
            f"{where} was made with the encoder {made_with}, but {wanted} is configured: name that "
            "encoder in the retriever's `encoder`, or index the documents again to another path or "
            "collection"
        )
