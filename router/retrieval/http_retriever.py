"""Your own search service, asked over HTTP. The contract is in docs/indexing.md."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice

import httpx
import msgspec

from policies.encoders.text import well_formed
from router.retrieval.errors import RetrievalError
from router.retrieval.guards import answer_within
from router.retrieval.retriever import Passage, Search

# A hundred passages of 30,000 characters; more than that is no answer to a search.
MAX_BYTES = 16 << 20
# Beside its own errors httpx lets through what the socket and the URL raise, in a group where it
# tried several addresses.
_UNREACHABLE = (
    httpx.HTTPError,
    httpx.InvalidURL,
    OSError,
    ValueError,
    OverflowError,
    ExceptionGroup,
)
# The last two: a date out of the years 1 to 9999, and an answer that nests too deep.
_WRONG_ANSWER = (msgspec.MsgspecError, UnicodeDecodeError, OverflowError, RecursionError)


class FoundPassage(msgspec.Struct, frozen=True):
    """One passage as the service sends it; what else it sends of one is ignored."""

    id: str
    text: str
    score: float
    title: str | None = None
    uri: str | None = None
    updated_at: datetime | None = None
    tenant: str | None = None


class SearchAnswer(msgspec.Struct, frozen=True):
    """The service's answer."""

    passages: list[FoundPassage]


class HttpRetriever:
    """Posts each search to a URL, over pooled connections."""

    def __init__(self, url: str, *, api_key: str | None, timeout_s: float) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        # The whole search has one deadline, which answer_within holds; httpx's are per read.
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout_s)
        self._url, self._timeout_s = url, timeout_s
        self._where = f"the search service at {httpx.URL(url).copy_with(query=None)}"
        self._answers = msgspec.json.Decoder(SearchAnswer)

    async def search(self, search: Search) -> Sequence[Passage]:
        """At most `search.k` passages, in the service's order.

        Raises:
            RetrievalError: no answer in time, or none that fits the contract.
        """
        async with answer_within(self._timeout_s, self._where):
            try:
                body = await self._post_again_if_dropped(search)
            except httpx.TimeoutException as error:
                raise TimeoutError from error
            except _UNREACHABLE as error:
                raise RetrievalError(f"{self._where} can't be reached") from error
        # The service is trusted to rank, not to keep tenants apart.
        found = (passage for passage in self._decode(body) if _fits(passage, search))
        return list(islice(found, search.k))

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _post_again_if_dropped(self, search: Search) -> bytes:
        """A pooled connection may be closed by the service just as it is used: ask once more."""
        try:
            return await self._post(search)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            return await self._post(search)

    async def _post(self, search: Search) -> bytes:
        body = msgspec.json.encode(request_body(search))
        headers = {"content-type": "application/json"}
        async with self._client.stream(
            "POST", self._url, content=body, headers=headers
        ) as response:
            if response.status_code != httpx.codes.OK:
                raise RetrievalError(f"{self._where} answered with status {response.status_code}")
            content = bytearray()
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > MAX_BYTES:
                    raise RetrievalError(f"{self._where} sent more than {MAX_BYTES >> 20} MiB")
            return bytes(content)

    def _decode(self, body: bytes) -> list[Passage]:
        try:
            return [_passage(found) for found in self._answers.decode(body).passages]
        except _WRONG_ANSWER as error:
            raise RetrievalError(f"{self._where} sent a wrong answer: {error}") from error


def request_body(search: Search) -> dict[str, object]:
    """What is posted."""
    return {
        "query": well_formed(search.text),
        "k": search.k,
        "strategy": search.strategy,
        "tenant": None if search.tenant is None else well_formed(search.tenant),
        "updated_since": search.updated_since,
    }


def _fits(passage: Passage, search: Search) -> bool:
    if search.tenant is not None and passage.tenant not in ("", search.tenant):
        return False
    if search.updated_since is None:
        return True
    return passage.updated_at is not None and passage.updated_at >= search.updated_since


def _passage(found: FoundPassage) -> Passage:
    return Passage(
        id=found.id,
        text=found.text,
        score=found.score,
        title=found.title or "",
        uri=found.uri or "",
        updated_at=None if found.updated_at is None else _utc(found.updated_at),
        tenant=found.tenant or "",
    )


def _utc(moment: datetime) -> datetime:
    """A moment without an offset is taken for UTC.

    Raises:
        OverflowError: its offset carries it out of the years 1 to 9999.
    """
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
