"""The connection's own way for single decisions: all is as the usual way has it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import uvicorn
from litestar import Litestar

from policies.encoders import Encoder
from policies.registries.memory import MemoryPolicyRegistry
from router.app import create_app
from router.deciding.decider import Decider
from router.log.memory_store import MemoryEventStore
from router.route_protocol import RouteProtocol
from router.services import Services
from router.settings import Settings

KEY = {"Authorization": "Bearer acme-key"}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


class Served(NamedTuple):
    """A service on a port, its store, and the sizes of the batches it has decided."""

    port: int
    app: Litestar
    store: MemoryEventStore
    sizes: list[int]

    async def settled(self) -> list[Any]:
        """All that is logged."""
        services: Services = self.app.state.services
        assert await services.log.flush()
        return list(self.store.events)


class Client:
    """One connection, on which bytes are sent as they are given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)

    async def answer(self) -> Answer:
        async with asyncio.timeout(20):
            status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()[:-1]
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(status.split()[1]), headers, json.loads(body))

    async def closed(self) -> bool:
        async with asyncio.timeout(20):
            return await self.reader.read() == b""


def post(body: Any, *, path: str = "/v1/route", version: str = "1.1", **headers: str) -> bytes:
    """A request as bytes; a header's name has _ for -."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Host": "a", "Content-Length": str(len(content)), **KEY}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items() if value)
    return f"POST {path} HTTP/{version}\r\n{head}\r\n".encode() + content


@pytest.fixture
async def served(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Served]:
    store, sizes, decide = MemoryEventStore(), [], Decider.decide
    auth = {"auth": {"tenant_keys_env": {"acme": "ACME"}}}
    app = create_app(
        msgspec.convert(auth, Settings),
        data=tmp_path,
        store=store,
        registry=MemoryPolicyRegistry(),
        environ={"ACME": "acme-key"},
        encoder=encoder,
    )

    def counted(self: Decider, requests: Sequence[Any], *args: Any, **options: Any) -> Any:
        sizes.append(len(requests))
        if any(request.query == "break" for request in requests):
            raise RuntimeError("secret")
        return decide(self, requests, *args, **options)

    monkeypatch.setattr(Decider, "decide", counted)
    config = uvicorn.Config(
        app, http=RouteProtocol, proxy_headers=False, access_log=False, log_config=None
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        while not server.started:
            await asyncio.sleep(0.001)
        yield Served(sock.getsockname()[1], app, store, sizes)
        server.should_exit = True
        await serving


async def connect(served: Served, count: int) -> list[Client]:
    """Connections that the service has accepted, as an answer on each shows."""
    clients = [
        Client(*await asyncio.open_connection("127.0.0.1", served.port)) for _ in range(count)
    ]
    for client in clients:
        client.send(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.answer()).status == 200
    return clients


async def close(clients: list[Client]) -> None:
    for client in clients:
        client.writer.close()
        with suppress(ConnectionError):
            await client.writer.wait_closed()


async def test_what_arrives_together_is_decided_together_and_answered_apart(
    served: Served,
) -> None:
    clients, arms = await connect(served, 20), ["finetuned", "retrieve", "hybrid"]
    for number, client in enumerate(clients):
        client.send(post({"query": f"Question {number}?", "arms": [arms[number % 3]]}))
    answers = [await client.answer() for client in clients]
    assert served.sizes == [20]
    assert [answer.body["arm"] for answer in answers] == [arms[n % 3] for n in range(20)]
    logged = {event.decision_id: event for event in await served.settled()}
    for number, answer in enumerate(answers):
        event = logged.pop(answer.body["decision_id"])
        assert (event.query, event.tenant) == (f"Question {number}?", "acme")
    assert not logged
    await close(clients)


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"query": " "}', 400),
        (b'{"query": "x", "arms": ["finetund"]}', 400),
        (b'{"query": "x", "qeury": 1}', 400),
        (b'{"query": "x", "tenant": "globex"}', 403),
        (b'{"query": "break"}', 500),
    ],
)
async def test_a_wrong_request_among_others_gets_the_problem_it_gets_alone(
    served: Served, wrong: bytes, status: int
) -> None:
    clients = await connect(served, 5)
    whole = post(wrong)
    # In two pieces, it takes the usual way.
    clients[0].send(whole[:60])
    await asyncio.sleep(0.05)
    clients[0].send(whole[60:])
    alone = await clients[0].answer()
    for client in clients:
        client.send(whole if client is clients[2] else post({"query": "Who?"}))
    answers = [await client.answer() for client in clients]
    assert [answer.status for answer in answers] == [200, 200, status, 200, 200]
    assert (answers[2].body, answers[2].headers["content-type"]) == (
        alone.body,
        "application/problem+json",
    )
    assert [event.query for event in await served.settled()] == ["Who?"] * 4
    await close(clients)


async def test_without_a_known_key_nothing_is_decided(served: Served) -> None:
    [client] = await connect(served, 1)
    client.send(post({"query": "Who?"}, Authorization="Bearer wrong"))
    answer = await client.answer()
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "bearer")
    assert served.sizes == []
    await close([client])


async def test_a_body_in_pieces_is_answered_as_a_whole_one_is(served: Served) -> None:
    [client] = await connect(served, 1)
    whole = post({"query": "Who?", "arms": ["hybrid"]})
    client.send(whole)
    at_once = await client.answer()
    client.send(whole[:-5])
    await asyncio.sleep(0.05)
    client.send(whole[-5:])
    in_pieces = await client.answer()
    ids = [answer.body.pop("decision_id") for answer in (at_once, in_pieces)]
    lengths = [answer.headers.pop("content-length") for answer in (at_once, in_pieces)]
    [answer.headers.pop("date") for answer in (at_once, in_pieces)]
    assert at_once == in_pieces
    assert ids[0] != ids[1]
    assert lengths[0] == lengths[1]
    assert len(await served.settled()) == 2
    await close([client])


async def test_a_chunked_body_is_a_body(served: Served) -> None:
    [client] = await connect(served, 1)
    head = post(b"", Content_Length="", Transfer_Encoding="chunked")
    client.send(head + b'11\r\n{"query": "Who?"}\r\n0\r\n\r\n')
    assert (await client.answer()).status == 200
    await close([client])


async def test_who_asks_whether_to_go_on_is_told(served: Served) -> None:
    [client] = await connect(served, 1)
    whole = post({"query": "Who?"}, Expect="100-continue")
    head, _, body = whole.partition(b"\r\n\r\n")
    client.send(head + b"\r\n\r\n")
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(body)
    assert (await client.answer()).status == 200
    await close([client])


async def test_requests_sent_before_the_last_is_answered_are_answered_in_order(
    served: Served,
) -> None:
    [client] = await connect(served, 1)
    arms = ["hybrid", "finetuned", "retrieve"]
    asked = [post({"query": "Who?", "arms": [arm]}) for arm in arms]
    whole = b"".join([*asked, post(b"{"), post({"query": "x"}, path="/v1/nowhere"), asked[0]])
    client.send(whole[:-10])
    await asyncio.sleep(0.05)
    client.send(whole[-10:])
    answers = [await client.answer() for _ in range(6)]
    assert [answer.status for answer in answers] == [200, 200, 200, 400, 404, 200]
    taken = [answer.body.get("arm") for answer in answers]
    assert taken == [*arms, None, None, "hybrid"]
    await close([client])


@pytest.mark.parametrize(("version", "connection"), [("1.1", "close"), ("1.0", "")])
async def test_who_wants_the_connection_closed_gets_it_closed_behind_the_answer(
    served: Served, version: str, connection: str
) -> None:
    [client] = await connect(served, 1)
    client.send(post({"query": "Who?"}, version=version, Connection=connection))
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await client.closed()
    await close([client])


async def test_who_hangs_up_at_once_holds_up_nobody(served: Served) -> None:
    gone, stays = await connect(served, 2)
    gone.send(post({"query": "Gone?"}))
    await close([gone])
    stays.send(post({"query": "Here?"}))
    assert (await stays.answer()).status == 200
    assert "Here?" in [event.query for event in await served.settled()]
    await close([stays])


async def test_a_long_text_is_decided_beside_the_event_loop(served: Served) -> None:
    [client] = await connect(served, 1)
    client.send(post({"query": "word " * 4_000}))
    assert (await client.answer()).status == 200
    await close([client])


async def test_another_path_or_method_goes_where_it_always_went(served: Served) -> None:
    [client] = await connect(served, 1)
    client.send(post({"requests": [{"query": "Who?"}]}, path="/v1/route/batch"))
    assert len((await client.answer()).body["decisions"]) == 1
    client.send(post({"query": "Who?"}).replace(b"POST", b"PUT", 1))
    assert (await client.answer()).status == 405
    await close([client])
