"""The contract with a search service of one's own, and what becomes of services that break it."""

import asyncio
import json
from typing import Any

import pytest

from router.retrieval.errors import RetrievalError
from router.retrieval.http_retriever import MAX_BYTES, HttpRetriever
from router.retrieval.retriever import Passage, Search
from tests.router.retrieval.search_service import Answer, http_service

SECRET, QUERY = "s3cr3t-key", "a very private question"


async def ask(answer: Answer, **wish: Any) -> list[Passage]:
    with http_service(answer) as url:
        retriever = HttpRetriever(url + "?index=docs", api_key=SECRET, timeout_s=30.0)
        try:
            return list(await retriever.search(Search(text=QUERY, **wish)))
        finally:
            await retriever.close()


def answering(body: Any, status: int = 200) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda *_: (status, content)


async def test_what_is_posted() -> None:
    posted: list[tuple[dict[str, str], dict[str, Any]]] = []

    def answer(headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        posted.append((headers, json.loads(body)))
        return 200, b'{"passages": []}'

    assert await ask(answer, k=3, strategy="text", tenant=None) == []
    [(headers, body)] = posted
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert headers["content-type"] == "application/json"
    assert body == {
        "query": QUERY,
        "k": 3,
        "strategy": "text",
        "tenant": None,
        "updated_since": None,
    }


async def test_optional_fields_may_be_absent_or_null_and_others_are_ignored() -> None:
    found = await ask(
        answering(
            {
                "took_ms": 3,
                "passages": [
                    {"id": "1", "text": "one", "score": 2},
                    {"id": "2", "text": "two", "score": 1.5, "title": None, "lang": "en"},
                    {"id": "3", "text": "3", "score": 1, "updated_at": "2026-01-02T03:04:05"},
                ],
            }
        )
    )
    assert [one.id for one in found] == ["1", "2", "3"]
    assert found[2].updated_at is not None
    assert found[2].updated_at.tzinfo is not None


async def test_more_than_k_is_cut() -> None:
    many = [{"id": str(n), "text": "x", "score": -n} for n in range(9)]
    assert len(await ask(answering({"passages": many}), k=4)) == 4


async def test_another_tenants_passages_never_get_through() -> None:
    rows = [
        {"id": owner or "public", "text": "x", "score": 1, "tenant": owner}
        for owner in ("b", "a", "", None)
    ]
    found = await ask(answering({"passages": rows}), tenant="a", k=2)
    assert [one.tenant for one in found] == ["a", ""]
    assert len(await ask(answering({"passages": rows}), tenant=None)) == 4


def dated(moment: str) -> dict[str, Any]:
    return {"passages": [{"id": "1", "text": "x", "score": 1, "updated_at": moment}]}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (answering({"error": QUERY + SECRET}, 500), "answered with status 500"),
        (answering({"passages": []}, 302), "answered with status 302"),
        (answering(b"<html>"), "wrong answer"),
        (answering(b"\xff\xfe"), "wrong answer"),
        (answering({"hits": []}), "wrong answer.*passages"),
        (answering({"passages": [{"id": 1, "text": "x", "score": 1}]}), r"wrong answer.*\.id"),
        (answering({"passages": [{"id": "1", "text": "x"}]}), "wrong answer.*score"),
        (answering(dated("0001-01-01T00:00:00+05:00")), "wrong answer.*date"),
        (answering(dated("9999-12-31T23:59:59-05:00")), "wrong answer.*date"),
        (answering(b'{"x":' + b"[" * 99_999 + b"]" * 99_999 + b"}"), "wrong answer"),
        (answering(b" " * (MAX_BYTES + 1)), "sent more than 16 MiB"),
    ],
)
async def test_a_wrong_answer_is_a_retrieval_error(answer: Answer, message: str) -> None:
    with pytest.raises(RetrievalError, match=message) as caught:
        await ask(answer)
    assert SECRET not in str(caught.value)
    assert QUERY not in str(caught.value)
    assert "index=docs" not in str(caught.value)


async def test_lone_surrogates_are_replaced_in_what_is_posted() -> None:
    def answer(_: dict[str, str], body: bytes) -> tuple[int, bytes]:
        posted = json.loads(body)
        assert (posted["query"], posted["tenant"]) == ("a \ufffd", "b\ufffd")
        return 200, b'{"passages": []}'

    with http_service(answer) as url:
        retriever = HttpRetriever(url, api_key=None, timeout_s=30.0)
        assert await retriever.search(Search(text="a \ud800", tenant="b\udfff")) == []
        await retriever.close()


async def test_a_port_that_cant_be_is_a_retrieval_error() -> None:
    retriever = HttpRetriever("http://127.0.0.1:99999/", api_key=None, timeout_s=30.0)
    with pytest.raises(RetrievalError, match="can't be reached"):
        await retriever.search(Search(text=QUERY))
    await retriever.close()


async def test_a_connection_dropped_in_use_is_tried_once_more() -> None:
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"}")
        if asked > 1:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n" + b'{"passages":[]}')
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    retriever = HttpRetriever(f"http://127.0.0.1:{port}/", api_key=None, timeout_s=30.0)
    assert await retriever.search(Search(text=QUERY)) == []
    assert asked == 2
    await retriever.close()
    server.close()
