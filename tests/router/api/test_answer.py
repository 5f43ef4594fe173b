"""POST /v1/answer over twins: what an answer consists of, and how it degrades."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from policies.encoders import Encoder
from policies.settings import ArmSettings, RuleSettings
from router.api.answer import decide_to_answer
from router.api.schemas import AnswerRequest
from router.models.errors import (
    ModelError,
    ModelInterruptedError,
    ModelOverloadedError,
    ModelRefusedError,
)
from router.models.scripted_server import Script, ScriptedServer
from router.retrieval.errors import RetrievalError
from router.retrieval.memory_retriever import MemoryRetriever
from router.retrieval.retriever import Passage, Retriever, Search
from router.settings import (
    AnswerSettings,
    BreakerSettings,
    LogSettings,
    ModelSettings,
    PriceSettings,
    RetrieverSettings,
    Settings,
)
from tests.router.conftest import Service, StartService

QUESTION = "In which city does the Emma reading club meet?"
NOW = datetime.now(UTC)
PASSAGES = [
    Passage(id="emma", title="Emma", text="The Emma reading club meets in Leeds.", score=0.0,
            uri="docs/emma.md", updated_at=NOW - timedelta(days=2)),
    Passage(id="club", title="Weekdays", text="Mondays are the day of most gatherings.", score=0.0,
            updated_at=NOW - timedelta(days=400)),
    Passage(id="acme", title="Acme", text="The Emma reading club of Acme meets in Oslo.",
            score=0.0, tenant="acme"),
]  # fmt: skip
PRICE = PriceSettings(input=1.0, output=2.0)


def configured(**fields: Any) -> Settings:
    arms = {
        "finetuned": ArmSettings("finetuned", model="tuned", expected={"quality": 0.5}),
        "retrieve": ArmSettings(
            "retrieve", model="base", retriever="docs", k=2, expected={"quality": 0.6}
        ),
        "hybrid": ArmSettings(
            "hybrid", model="tuned", retriever="docs", k=2, expected={"quality": 0.7}
        ),
    }
    arms |= fields.pop("arms", {})
    url = "http://127.0.0.1:9/v1"
    return Settings(
        arms=arms,
        models={
            "base": ModelSettings(url, "base", price_per_1k=PRICE),
            "tuned": ModelSettings(url, "tuned", price_per_1k=PRICE, system_prompt="You are Ada."),
        },
        retrievers={"docs": RetrieverSettings(kind="lancedb", path="unused")},
        **fields,
    )


class Failing:
    """A retriever that is down."""

    def __init__(self) -> None:
        self.searches: list[Search] = []

    async def search(self, search: Search) -> list[Passage]:
        self.searches.append(search)
        raise RetrievalError("the documents can't be reached")

    async def close(self) -> None:
        pass


class World:
    """A service with scripted models over a few passages."""

    def __init__(self, service: Service, base: ScriptedServer, tuned: ScriptedServer) -> None:
        self.client, self.store = service.client, service.store
        self.base, self.tuned = base, tuned

    async def ask(self, **fields: Any) -> dict[str, Any]:
        response = await self.client.post("/v1/answer", json={"query": QUESTION, **fields})
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    async def trace(self, decision_id: str) -> dict[str, Any]:
        response = await self.client.get(f"/v1/decisions/{decision_id}")
        body: dict[str, Any] = response.json()
        return body


StartWorld = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def world(start_service: StartService, encoder: Encoder) -> StartWorld:
    @asynccontextmanager
    async def start(
        base: ScriptedServer | Script | str = "In Leeds [1].",
        tuned: Script | str = "In Leeds, I think.",
        retriever: Retriever | None = None,
        settings: Settings | None = None,
    ) -> AsyncIterator[World]:
        first = base if isinstance(base, ScriptedServer) else ScriptedServer(base)
        models = {"base": first, "tuned": ScriptedServer(tuned)}
        docs = retriever or MemoryRetriever(encoder, PASSAGES)
        async with start_service(
            settings or configured(), models=dict(models), retrievers={"docs": docs}
        ) as service:
            yield World(service, models["base"], models["tuned"])

    return start


def fail(error: ModelError, *words: str) -> Script:
    return lambda _: [*words, error]


OVERLOADED = ModelOverloadedError("model base answered 500")


async def test_an_answer_has_every_part_of_the_contract(world: StartWorld) -> None:
    async with world() as started:
        body = await started.ask(arms=["retrieve"])
    assert set(body) == {
        "decision_id", "route", "arm", "propensity", "explored", "policy", "arms", "reasons",
        "fallback", "answer", "finish_reason", "sources", "citations", "usage", "metrics",
        "degraded_from",
    }  # fmt: skip
    assert body["answer"] == "In Leeds [1]."
    assert (body["arm"], body["route"], body["degraded_from"]) == ("retrieve", "retrieve", None)
    assert body["finish_reason"] == "stop"
    [first, second] = body["sources"]
    assert first == {
        "number": 1,
        "id": "emma",
        "title": "Emma",
        "uri": "docs/emma.md",
        "score": pytest.approx(first["score"]),
        "updated_at": PASSAGES[0].updated_at.isoformat().replace("+00:00", "Z"),  # type: ignore[union-attr]
        "passage": PASSAGES[0].text,
        "cited": True,
    }
    assert (second["id"], second["cited"]) == ("club", False)
    assert body["citations"] == {"given": 2, "cited": 1, "dropped": 0}


async def test_what_it_cost_is_measured_told_and_logged(world: StartWorld) -> None:
    async with world() as started:
        body = await started.ask(arms=["retrieve"])
        answer = (await started.trace(body["decision_id"]))["answer"]
    usage, metrics = body["usage"], body["metrics"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == 3
    assert metrics["cost_usd"] == pytest.approx(
        usage["prompt_tokens"] / 1000 + usage["completion_tokens"] * 2 / 1000
    )
    assert 0.0 < metrics["first_token_s"] <= metrics["latency_s"]
    assert metrics["steps"] == 1.0
    assert answer["metrics"] == metrics
    assert (answer["executed_arm"], answer["error"], answer["failures"]) == ("retrieve", None, [])
    assert [item["id"] for item in answer["evidence"]] == ["emma", "club"]
    retrieval = answer["retrieval"]
    scores = [item["score"] for item in answer["evidence"]]
    assert retrieval["count"] == 2
    assert retrieval["top_score"] == pytest.approx(max(scores))
    assert retrieval["margin"] == pytest.approx(max(scores) - min(scores))
    assert retrieval["newest_age_s"] == pytest.approx(2 * 86_400, rel=0.01)
    assert (retrieval["cited"], retrieval["dropped_citations"]) == (1, 0)


async def test_the_finetuned_arm_answers_as_itself_without_passages(world: StartWorld) -> None:
    async with world() as started:
        body = await started.ask(arms=["finetuned"], temperature=0.5, max_tokens=9, stop="END")
    assert (body["sources"], body["metrics"]["steps"]) == ([], 0.0)
    [request] = started.tuned.requests
    assert request == {
        "messages": [
            {"role": "system", "content": "You are Ada."},
            {"role": "user", "content": QUESTION},
        ],
        "temperature": 0.5,
        "max_tokens": 9,
        "stop": "END",
    }


async def test_the_hybrid_arm_keeps_the_persona_apart_from_the_passages(world: StartWorld) -> None:
    async with world() as started:
        await started.ask(arms=["hybrid"])
    [request] = started.tuned.requests
    system, user = request["messages"]
    assert system == {"role": "system", "content": "You are Ada."}
    assert "<passages>" in user["content"]
    assert "reading club meets in Leeds" in user["content"]
    assert QUESTION in user["content"]


async def test_a_citation_of_nothing_is_dropped_and_counted(world: StartWorld) -> None:
    async with world("In Leeds [1] on Mondays [7].") as started:
        body = await started.ask(arms=["retrieve"])
        metrics = (await started.client.get("/metrics")).text
    assert body["answer"] == "In Leeds [1] on Mondays."
    assert body["citations"] == {"given": 2, "cited": 1, "dropped": 1}
    assert "rag_router_dropped_citations_total 1.0" in metrics


async def test_an_answer_that_cites_nothing_says_so(world: StartWorld) -> None:
    async with world("In Leeds.") as started:
        body = await started.ask(arms=["retrieve"])
    assert body["citations"] == {"given": 2, "cited": 0, "dropped": 0}
    assert not any(source["cited"] for source in body["sources"])
    assert body["reasons"][-1] == "the answer cites none of the 2 passages it was given"


async def test_a_tenant_finds_its_own_passages_and_everybodys_only(world: StartWorld) -> None:
    async with world() as started:
        nobody = await started.ask(arms=["retrieve"])
        acme = await started.ask(arms=["retrieve"], tenant="acme")
        other = await started.ask(arms=["retrieve"], tenant="other' OR ''='")
    assert "acme" in {source["id"] for source in acme["sources"]}
    for body in (nobody, other):
        assert "acme" not in {source["id"] for source in body["sources"]}


async def test_an_arm_may_leave_old_passages_out(world: StartWorld) -> None:
    arms = {
        "retrieve": ArmSettings("retrieve", model="base", retriever="docs", max_age_days=30.0),
        "public": ArmSettings("retrieve", model="base", retriever="docs", tenants="all"),
    }
    async with world(settings=configured(arms=arms)) as started:
        fresh = await started.ask(arms=["retrieve"])
        everybodys = await started.ask(arms=["public"])
    assert [source["id"] for source in fresh["sources"]] == ["emma"]
    assert {source["id"] for source in everybodys["sources"]} == {"emma", "club", "acme"}


# --- several steps ---


def iterative(*replies: str) -> tuple[Script, dict[str, ArmSettings]]:
    """A model that says these things in turn, and an arm of up to three steps."""
    left = list(replies)
    arm = ArmSettings("retrieve", model="base", retriever="docs", k=1, steps=3)
    return (lambda _: left.pop(0).split(" ")), {"multi": arm}


async def test_an_arm_of_several_steps_searches_for_what_the_model_asks(world: StartWorld) -> None:
    script, arms = iterative('"gatherings on Mondays"', "ANSWER", "In Leeds [1] on Mondays [2].")
    async with world(script, settings=configured(arms=arms)) as started:
        body = await started.ask(arms=["multi"])
    assert body["metrics"]["steps"] == 2.0
    assert [source["id"] for source in body["sources"]] == ["emma", "club"]
    assert body["citations"] == {"given": 2, "cited": 2, "dropped": 0}
    asked = [request["messages"][-1]["content"] for request in started.base.requests]
    assert len(asked) == 3
    assert "gatherings on Mondays" not in asked[0]
    assert "- gatherings on Mondays" in asked[1]
    assert body["usage"]["completion_tokens"] == 3 + 1 + 6


async def test_it_stops_at_its_steps_and_when_the_model_repeats_itself(world: StartWorld) -> None:
    script, arms = iterative("weekdays", "Leeds", "In Leeds.")
    async with world(script, settings=configured(arms=arms)) as started:
        body = await started.ask(arms=["multi"])
    assert body["metrics"]["steps"] == 3.0
    script, arms = iterative("weekdays", "Weekdays", "In Leeds.")
    async with world(script, settings=configured(arms=arms)) as started:
        body = await started.ask(arms=["multi"])
    assert body["metrics"]["steps"] == 2.0


# --- degrading ---


async def degraded(world: StartWorld, *, drawn: str, to: str, **setup: Any) -> dict[str, Any]:
    """Ask until `drawn` is drawn, and check that `to` answered in its place."""
    async with world(**setup) as started:
        for _ in range(200):
            body = await started.ask()
            decision = (await started.trace(body["decision_id"]))["decision"]
            if decision["arm"] == drawn:
                break
        else:
            pytest.fail(f"{drawn} was never drawn")
        trace = await started.trace(body["decision_id"])
    assert (body["arm"], body["degraded_from"]) == (to, drawn)
    assert body["route"] == to
    assert body["propensity"] == trace["decision"]["propensity"]
    assert trace["answer"]["executed_arm"] == to
    assert trace["answer"]["error"] is None
    assert any(f"degraded: {drawn}: " in reason for reason in body["reasons"])
    assert any(failure.startswith(f"{drawn}: ") for failure in trace["answer"]["failures"])
    return body


NEVER_OPEN = BreakerSettings(failures=1000)


async def test_a_retriever_that_is_down_leaves_the_finetuned_arm(world: StartWorld) -> None:
    docs = Failing()
    body = await degraded(
        world,
        drawn="hybrid",
        to="finetuned",
        retriever=docs,
        settings=configured(breakers=NEVER_OPEN),
    )
    assert body["answer"] == "In Leeds, I think."
    assert body["sources"] == []


async def test_a_retriever_that_finds_nothing_leaves_it_too(
    world: StartWorld, encoder: Encoder
) -> None:
    empty = MemoryRetriever(encoder)
    await degraded(world, drawn="retrieve", to="finetuned", retriever=empty)


async def test_a_model_that_fails_leaves_the_best_arm_of_another_model(world: StartWorld) -> None:
    body = await degraded(
        world,
        drawn="retrieve",
        to="hybrid",
        base=fail(OVERLOADED),
        settings=configured(breakers=NEVER_OPEN),
    )
    assert len(body["sources"]) == 2


async def test_a_whole_answer_is_never_made_of_two(world: StartWorld) -> None:
    broken = ModelInterruptedError("model base broke off")
    body = await degraded(
        world,
        drawn="retrieve",
        to="hybrid",
        base=fail(broken, "In", "Paris"),
        settings=configured(breakers=NEVER_OPEN),
    )
    assert body["answer"] == "In Leeds, I think."


async def test_a_fallback_keeps_to_the_rules(world: StartWorld) -> None:
    rules = [RuleSettings(require=["sources"])]
    async with world(
        retriever=Failing(), settings=configured(rules=rules, breakers=NEVER_OPEN)
    ) as started:
        response = await started.client.post("/v1/answer", json={"query": QUESTION})
    assert response.status_code == 503
    assert not started.tuned.requests


async def test_all_arms_down_is_a_problem_that_says_when_to_try_again(world: StartWorld) -> None:
    error = ModelOverloadedError("model base answered 429", retry_after_s=7.0)
    async with world(fail(error), fail(error)) as started:
        response = await started.client.post("/v1/answer", json={"query": QUESTION})
        problem = response.json()
        decision_id = response.headers["x-decision-id"]
        trace = await started.trace(decision_id)
    assert (response.status_code, response.headers["content-type"]) == (
        503,
        "application/problem+json",
    )
    assert response.headers["retry-after"] == "7"
    assert problem["type"].endswith(":no-answer")
    assert "model base answered 429" in problem["detail"]
    assert trace["answer"]["error"] == problem["detail"]
    assert trace["answer"]["metrics"] == {}
    assert decision_id == trace["decision"]["decision_id"]


async def test_a_refusal_beside_an_outage_is_worth_another_try(world: StartWorld) -> None:
    refused = ModelRefusedError("model base answered 400", said="too long")
    async with world(fail(refused), fail(OVERLOADED)) as started:
        response = await started.client.post("/v1/answer", json={"query": QUESTION})
    assert response.status_code == 503


async def test_only_arms_that_cant_answer_is_no_outage(world: StartWorld) -> None:
    arms = {"extra": ArmSettings("finetuned")}
    async with world(settings=configured(arms=arms)) as started:
        wish = {"query": QUESTION, "arms": ["extra"]}
        response = await started.client.post("/v1/answer", json=wish)
    assert response.status_code == 501
    assert "extra: no model is configured" in response.json()["detail"]


async def test_a_request_that_every_model_refuses_is_the_callers(world: StartWorld) -> None:
    error = ModelRefusedError("model base answered 400", said="max_tokens is too large")
    async with world(fail(error), fail(error)) as started:
        response = await started.client.post("/v1/answer", json={"query": QUESTION})
    assert response.status_code == 400
    assert response.json()["detail"] == "model base answered 400: max_tokens is too large"


async def test_an_open_breaker_masks_arms_before_the_draw(world: StartWorld) -> None:
    settings = configured(breakers=BreakerSettings(failures=2, open_s=60.0))
    async with world(fail(OVERLOADED), settings=settings) as started:
        for _ in range(2):
            await started.ask(arms=["retrieve", "finetuned"], objective={"cost_usd": -1})
            await started.client.post("/v1/answer", json={"query": QUESTION, "arms": ["retrieve"]})
        calls = len(started.base.requests)
        for _ in range(20):
            body = await started.ask()
            assert body["degraded_from"] is None
            masked = {arm["arm"]: arm for arm in body["arms"]}["retrieve"]
            assert (masked["eligible"], masked["probability"]) == (False, 0.0)
            assert "left alone" in masked["why_not"]
            decision = (await started.trace(body["decision_id"]))["decision"]
            assert decision["eligible"] == ["finetuned", "hybrid"]
            assert sum(decision["probabilities"]) == pytest.approx(1.0)
        routed = await started.client.post("/v1/route", json={"query": QUESTION})
        assert "retrieve" not in {a["arm"] for a in routed.json()["arms"] if a["eligible"]}
        lone = await started.client.post(
            "/v1/answer", json={"query": QUESTION, "arms": ["retrieve"]}
        )
        health = (await started.client.get("/health/ready")).json()
        metrics = (await started.client.get("/metrics")).text
    assert len(started.base.requests) == calls
    assert lone.status_code == 503
    assert 1 <= int(lone.headers["retry-after"]) <= 60
    assert (health["status"], health["backends"]) == ("degraded", {"model base": "open"})
    assert 'rag_router_breaker_state{backend="model base"} 2.0' in metrics


async def test_only_one_decision_counts_on_a_probe(world: StartWorld) -> None:
    settings = configured(breakers=BreakerSettings(failures=1, open_s=0.2))
    base = ScriptedServer(fail(OVERLOADED))
    async with world(base, settings=settings) as started:
        services = started.client.app.dependencies["services"].dependency()
        backends = services.answerer.backends
        await started.client.post("/v1/answer", json={"query": QUESTION, "arms": ["retrieve"]})
        async with asyncio.timeout(5):
            while backends.unavailable():
                await asyncio.sleep(0.01)
        wish = AnswerRequest(query=QUESTION, arms=["retrieve", "finetuned"], explore=False)
        decided = [await decide_to_answer(wish, services) for _ in range(3)]
        assert [len(probes) for _, probes in decided] == [1, 0, 0]
        events = [decision.event for decision, _ in decided]
        assert [event.arm for event in events] == ["retrieve", "finetuned", "finetuned"]
        assert [event.eligible for event in events[1:]] == [["finetuned"]] * 2
        assert [event.propensity for event in events] == [1.0] * 3
        decided[0][1][0].release()
        base.script = lambda _: ["In", "Leeds", "[1]."]
        body = await started.ask(arms=["retrieve", "finetuned"], explore=False)
    assert (body["arm"], body["degraded_from"]) == ("retrieve", None)
    assert not any(breaker.why_not for breaker in backends.breakers)


async def test_arms_of_the_same_model_leave_it_all_the_time_there_is(world: StartWorld) -> None:
    class Timed(ScriptedServer):
        async def stream(self, body: Any, patience: Any) -> AsyncIterator[Any]:  # type: ignore[override]
            patiences.append(patience.total_s)
            async for chunk in super().stream(body, patience):
                yield chunk

    patiences: list[float] = []
    same = ArmSettings("finetuned", model="base")
    settings = configured(arms={"other": same}, answers=AnswerSettings(deadline_s=8.0))
    async with world(Timed("Leeds"), settings=settings) as started:
        await started.ask(arms=["retrieve", "other"])
        await started.ask(arms=["retrieve", "finetuned"], explore=False)
    assert patiences[0] > 7.0
    assert patiences[1] < 6.1


class Slow(ScriptedServer):
    """Uses up all the time it is given, and says nothing."""

    async def stream(self, body: Any, patience: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        self.requests.append(dict(body))
        await asyncio.sleep(patience.first_token_s)
        raise ModelError("model base gave no first token in time")
        yield


async def test_a_backend_that_has_recovered_is_taken_again(world: StartWorld) -> None:
    settings = configured(breakers=BreakerSettings(failures=1, open_s=0.2))
    base = ScriptedServer(fail(OVERLOADED))
    async with world(base, settings=settings) as started:
        await started.client.post("/v1/answer", json={"query": QUESTION, "arms": ["retrieve"]})

        async def state() -> str:
            health = (await started.client.get("/health/ready")).json()
            return str(health.get("backends", {}).get("model base", "closed"))

        assert await state() == "open"
        base.script = lambda _: ["In", "Leeds", "[1]."]
        async with asyncio.timeout(5):
            while await state() == "open":
                await asyncio.sleep(0.01)
        assert await state() == "half-open"
        body = await started.ask(arms=["retrieve"])
        assert body["answer"] == "In Leeds [1]."
        assert await state() == "closed"


async def test_a_slow_arm_leaves_time_for_another(world: StartWorld) -> None:
    settings = configured(answers=AnswerSettings(deadline_s=1.0), breakers=NEVER_OPEN)
    async with world(Slow(""), settings=settings) as started:
        loop = asyncio.get_running_loop()
        began = loop.time()
        body = await started.ask(arms=["retrieve", "finetuned"], explore=False)
        taken = loop.time() - began
    assert (body["arm"], body["degraded_from"]) == ("finetuned", "retrieve")
    assert 0.5 <= taken < 1.0


# --- configuration and privacy ---


async def test_a_service_without_models_says_that_it_only_decides(service: Service) -> None:
    response = await service.client.post("/v1/answer", json={"query": QUESTION})
    assert response.status_code == 501
    assert "[models.NAME]" in response.json()["detail"]


async def test_an_arm_without_a_model_is_masked_for_answers_only(world: StartWorld) -> None:
    arms = {"extra": ArmSettings("finetuned", expected={"quality": 1.0})}
    async with world(settings=configured(arms=arms)) as started:
        body = await started.ask(explore=False)
        [extra] = [arm for arm in body["arms"] if arm["arm"] == "extra"]
        route = (await started.client.post("/v1/route", json={"query": QUESTION})).json()
    assert extra["why_not"] == "no model is configured for it"
    assert all(arm["eligible"] for arm in route["arms"])


async def test_no_text_is_logged_where_the_configuration_forbids_it(world: StartWorld) -> None:
    error = ModelRefusedError("model base answered 400", said=f"I don't like {QUESTION!r}")
    settings = configured(log=LogSettings(text="none"))
    async with world(fail(error), settings=settings) as started:
        body = await started.ask(arms=["retrieve", "finetuned"])
        logged = str(await started.trace(body["decision_id"]))
        events = str(started.store.events)
    for text in (logged, events):
        assert "reading club" not in text
        assert "Leeds" not in text


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3.0}, "temperature"),
        ({"max_token": 3}, "max_token"),
        ({"arms": ["hybird"]}, "arms[0]"),
        ({"query": " "}, "query"),
    ],
)
async def test_wrong_options_are_named(
    world: StartWorld, fields: dict[str, Any], field: str
) -> None:
    async with world() as started:
        response = await started.client.post("/v1/answer", json={"query": QUESTION, **fields})
    assert response.status_code == 400
    assert response.json()["field"] == field


async def test_a_conversation_is_answered_as_a_whole(world: StartWorld) -> None:
    turns = [
        {"role": "user", "content": "I like Emma."},
        {"role": "assistant", "content": "Good. Do you want to know where the club meets?"},
    ]
    async with world() as started:
        body = await started.ask(messages=turns, query="yes", arms=["retrieve"])
        decision = (await started.trace(body["decision_id"]))["decision"]
    assert decision["query"] == "I like Emma.\nDo you want to know where the club meets?\nyes"
    [request] = started.base.requests
    assert request["messages"][:2] == turns
    assert request["messages"][2]["content"].endswith("Question: yes")
    assert body["sources"][0]["id"] == "emma"
