"""The short path and the framework's own way are one contract: they answer requests the same."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.testing import AsyncTestClient
from litestar.types import Message

from policies.encoders import Encoder
from policies.registries.memory import MemoryPolicyRegistry
from router.answers.errors import NoAnswerError
from router.api import strict_request
from router.api.route import RouteController
from router.api.short_path import ShortPath
from router.app import create_app
from router.deciding.decider import Decider
from router.log.memory_store import MemoryEventStore
from router.settings import Settings

QUERY = b'{"query": "Who wrote Emma?", "arms": ["hybrid"]}'
BATCH = b'{"requests": [' + QUERY + b"]}"
AUTH = {"api_keys_env": "KEYS", "tenant_keys_env": {"acme": "ACME"}}
ENVIRON = {"KEYS": "trusted", "ACME": "acme-key", "RAG_ROUTER_ADMIN_KEY": "admin-secret"}
TRUSTED = {"authorization": "Bearer trusted"}
ACME = {"authorization": "bearer acme-key"}


class Answer(NamedTuple):
    """What came back; headers in any order."""

    status: int
    headers: dict[str, str]
    body: Any


class Ways(NamedTuple):
    """Two services with the same configuration: one on the short path, one without it."""

    short: Litestar
    long: Litestar


@pytest.fixture
async def ways(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Ways]:
    """Both, running; callers need keys."""

    def app(name: str) -> Litestar:
        return create_app(
            msgspec.convert({"auth": AUTH}, Settings),
            data=tmp_path / name,
            store=MemoryEventStore(),
            registry=MemoryPolicyRegistry(),
            environ=ENVIRON,
            encoder=encoder,
        )

    short = app("short")
    for endpoint in (RouteController.route, RouteController.route_batch):
        monkeypatch.setattr(endpoint, "middleware", ())
    long = app("long")
    async with AsyncTestClient(short), AsyncTestClient(long):
        yield Ways(short, long)


async def ask(
    app: Litestar,
    body: bytes | list[Message] = QUERY,
    *,
    path: str = "/v1/route",
    method: str = "POST",
    headers: Mapping[str, str] = TRUSTED,
) -> Answer:
    """One request as a server would hand it on: in one piece, or as these messages."""
    messages = body if isinstance(body, list) else [piece(body)]
    sent: list[Any] = []

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "state": {},
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }  # fmt: skip
    await app(cast("Any", scope), receive, send)
    start, *rest = sent
    raw = b"".join(message["body"] for message in rest)
    named = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    if "allow" in named:  # the framework's own, from a set
        named["allow"] = ", ".join(sorted(named["allow"].split(", ")))
    assert int(named["content-length"] if raw else 0) == len(raw)
    is_json = "json" in named.get("content-type", "")
    return Answer(start["status"], named, json.loads(raw) if is_json else raw)


def piece(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def same_answer(ways: Ways, **request: Any) -> Answer:
    """What both ways answer, which must be the same but for what each draws anew."""
    answers = []
    for app in ways:
        body = request.get("body", QUERY)
        again = {**request, "body": list(body) if isinstance(body, list) else body}
        answers.append(await ask(app, **again))
    short, long = (_without_ids(answer) for answer in answers)
    assert short == long
    return short


def _without_ids(answer: Answer) -> Answer:
    text = json.dumps(answer.body) if isinstance(answer.body, dict) else ""
    if '"decision_id"' not in text:
        return answer
    body = answer.body
    for decision in body.get("decisions", [body]):
        assert len(decision["decision_id"]) == 36
        decision["decision_id"] = "-"
    return answer._replace(body=body)


def test_only_one_of_them_takes_the_short_path(ways: Ways) -> None:
    """Otherwise the others would compare a way with itself."""
    taken = [
        {
            route.path
            for route in app.routes
            if isinstance(route, HTTPRoute)
            for handler in route.route_handlers
            if ShortPath in handler.resolve_middleware()
        }
        for app in ways
    ]
    assert taken == [{"/v1/route", "/v1/route/batch"}, set()]


@pytest.mark.parametrize(("path", "body"), [("/v1/route", QUERY), ("/v1/route/batch", BATCH)])
async def test_a_decision_is_the_same_on_both_ways(ways: Ways, path: str, body: bytes) -> None:
    answer = await same_answer(ways, path=path, body=body)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    [decision] = answer.body.get("decisions", [answer.body])
    assert (decision["arm"], decision["propensity"]) == ("hybrid", 1.0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"query"',
        b"{}",
        b'{"query": ""}',
        b'{"query": 5}',
        b'{"query": "x", "qeury": 1}',
        b'{"query": "x", "arms": ["finetund"]}',
        b'{"query": "x", "objective": {"qualty": 1}}',
        b'{"query": "x", "objective": {"quality": NaN}}',
        b'{"query": "x", "attributes": {"a": []}}',
        b'{"query": "x", "messages": [{"role": "user"}]}',
        b'{"query": "\xff"}',
        b'{"query": "\\ud800"}',
        b"[" * 100_000,
        b'{"query": "' + b"x" * 32_769 + b'"}',
    ],
)
async def test_a_wrong_body_gives_the_same_problem(ways: Ways, body: bytes) -> None:
    answer = await same_answer(ways, body=body)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")


@pytest.mark.parametrize(
    "body",
    [
        b'{"requests": []}',
        b'{"requests": [{"query": "x"}, {"query": " "}]}',
        b'{"requests": [{"query": "x", "explore": 1}]}',
        b'{"requests": [' + b",".join([b'{"query": "x"}'] * 257) + b"]}",
    ],
)
async def test_a_wrong_batch_gives_the_same_problem(ways: Ways, body: bytes) -> None:
    answer = await same_answer(ways, path="/v1/route/batch", body=body)
    assert answer.status == 400
    assert answer.body["field"].startswith("requests")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "x"}])
async def test_without_a_known_key_both_refuse_before_they_read(
    ways: Ways, headers: dict[str, str]
) -> None:
    answer = await same_answer(ways, headers=headers, body=[])
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_another_tenants_name_is_refused_and_ones_own_is_filled_in(ways: Ways) -> None:
    body = b'{"query": "x", "tenant": "globex"}'
    answer = await same_answer(ways, headers=ACME, body=body)
    assert (answer.status, answer.body["field"]) == (403, "tenant")
    batch = b'{"requests": [{"query": "x"}, ' + body + b"]}"
    answer = await same_answer(ways, headers=ACME, body=batch, path="/v1/route/batch")
    assert (answer.status, answer.body["field"]) == (403, "requests[1].tenant")
    assert (await same_answer(ways, headers=ACME)).status == 200


async def test_a_body_beyond_the_limit_is_refused_when_it_says_so_and_when_it_is(
    ways: Ways,
) -> None:
    announced = {**TRUSTED, "content-length": str(strict_request.MAX_BODY_BYTES + 1)}
    assert (await same_answer(ways, headers=announced, body=[])).status == 413
    half = b"x" * (strict_request.MAX_BODY_BYTES // 2 + 1)
    streamed = [piece(half, more=True), piece(half, more=True)]
    answer = await same_answer(ways, body=streamed)
    assert (answer.status, answer.body["type"].rpartition(":")[2]) == (413, "too-large")
    nonsense = {**TRUSTED, "content-length": "many"}
    assert (await same_answer(ways, headers=nonsense)).status == 400


async def test_a_body_of_just_the_limit_is_read(ways: Ways) -> None:
    body = QUERY + b" " * (strict_request.MAX_BODY_BYTES - len(QUERY))
    answer = await same_answer(ways, body=[piece(body[:100], more=True), piece(body[100:])])
    assert answer.status == 200


async def test_a_body_that_trickles_gives_the_same_problem(
    ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strict_request, "BODY_TIMEOUT_S", 0.01)
    answer = await same_answer(ways, body=[piece(b'{"query"', more=True)])
    assert (answer.status, answer.body["type"].rpartition(":")[2]) == (408, "slow-body")


async def test_a_caller_who_hangs_up_is_told_the_same(ways: Ways) -> None:
    gone: list[Message] = [piece(b'{"query"', more=True), {"type": "http.disconnect"}]
    assert (await same_answer(ways, body=gone)).status == 500


@pytest.mark.parametrize(("path", "method"), [("/v1/route", "GET"), ("/v1/route/batch", "DELETE")])
async def test_another_method_is_not_allowed(ways: Ways, path: str, method: str) -> None:
    assert (await same_answer(ways, path=path, method=method)).status == 405


@pytest.mark.parametrize("path", ["/v1/route/", "//v1//route", "/v1/route/other", "/v1/ROUTE"])
async def test_paths_lead_to_the_same_place(ways: Ways, path: str) -> None:
    await same_answer(ways, path=path)


async def test_the_options_are_told(ways: Ways) -> None:
    answer = await same_answer(ways, method="OPTIONS")
    assert (answer.status, answer.headers["allow"]) == (204, "OPTIONS, POST")


async def test_with_no_arm_left_both_say_when_to_try_again(
    ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise NoAnswerError("no arm is left to take now")

    monkeypatch.setattr(Decider, "decide", fail)
    answer = await same_answer(ways)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 0


async def test_a_defect_of_ours_is_told_without_its_traceback(
    ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Decider, "decide", fail)
    answer = await same_answer(ways)
    assert (answer.status, answer.body["type"].rpartition(":")[2]) == (500, "internal")
    assert "secret" not in str(answer.body)


async def test_the_schema_describes_the_short_path_as_any_endpoint(ways: Ways) -> None:
    schemas = [await ask(app, method="GET", path="/schema/openapi.json") for app in ways]
    assert schemas[0].body == schemas[1].body
    operation = schemas[0].body["paths"]["/v1/route"]["post"]
    assert operation["requestBody"]["required"]
    assert {"200", "400", "401", "403", "408", "413", "503"} <= operation["responses"].keys()
