"""What arrives in one turn is decided together, and each request answered for itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from policies.encoders import Encoder
from policies.events import DecisionMade
from policies.registries.memory import MemoryPolicyRegistry
from router.api.gathering import Gathering
from router.api.schemas import RouteRequest
from router.app import create_app
from router.deciding.decider import Decider
from router.log.memory_store import MemoryEventStore
from router.services import Services
from router.settings import Settings


class Caller:
    """Somebody who waits."""

    def __init__(self, query: str, *, wanted: bool = True, **asked: Any) -> None:
        self.request = RouteRequest(query=query, **asked)
        self.wanted = wanted
        self.answered: list[dict[str, Any]] = []
        self.declined = 0

    def answer(self, content: bytes) -> None:
        self.answered.append(json.loads(content))

    def decline(self) -> None:
        self.declined += 1


@pytest.fixture
def store() -> MemoryEventStore:
    return MemoryEventStore()


@pytest.fixture
async def services(
    tmp_path: Path, encoder: Encoder, store: MemoryEventStore
) -> AsyncIterator[Services]:
    """Of an application that runs on the test's own event loop."""
    registry = MemoryPolicyRegistry()
    app = create_app(
        Settings(), data=tmp_path, store=store, registry=registry, environ={}, encoder=encoder
    )
    running, enough = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        # Entered and left in one task, which a fixture isn't.
        async with app.lifespan():
            running.set()
            await enough.wait()

    task = asyncio.create_task(run())
    await running.wait()
    yield app.state.services
    enough.set()
    await task


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of the batches that are decided."""
    found: list[int] = []
    decide = Decider.decide

    def counted(self: Decider, requests: Any, *args: Any, **options: Any) -> Any:
        found.append(len(requests))
        return decide(self, requests, *args, **options)

    monkeypatch.setattr(Decider, "decide", counted)
    return found


async def ask(services: Services, callers: list[Caller], most: int = 64) -> None:
    """All of them in one turn."""
    gathering = Gathering(services, most)
    for caller in callers:
        gathering.add(caller)
    assert not any(caller.answered for caller in callers)
    for _ in range(len(callers) + 1):
        await asyncio.sleep(0)


async def test_each_gets_the_decision_on_its_own_request(
    store: MemoryEventStore, services: Services, sizes: list[int]
) -> None:
    arms = ["finetuned", "retrieve", "hybrid"]
    callers = [Caller(f"Question {n}?", arms=[arms[n % 3]], tenant=f"t{n}") for n in range(30)]
    await ask(services, callers)
    assert sizes == [30]
    told = [caller.answered[0] for caller in callers]
    assert [one["arm"] for one in told] == arms * 10
    assert await services.log.flush()
    logged = [event for event in store.events if isinstance(event, DecisionMade)]
    assert [(event.decision_id, event.query, event.tenant) for event in logged] == [
        (one["decision_id"], f"Question {n}?", f"t{n}") for n, one in enumerate(told)
    ]


async def test_a_lone_request_is_decided_in_the_next_turn(services: Services) -> None:
    caller = Caller("Who wrote Emma?")
    Gathering(services).add(caller)
    await asyncio.sleep(0)
    assert len(caller.answered) == 1


async def test_no_more_than_may_are_decided_in_one_turn_and_none_is_forgotten(
    services: Services, sizes: list[int]
) -> None:
    callers = [Caller(f"Question {n}?") for n in range(7)]
    await ask(services, callers, most=3)
    assert sizes == [3, 3, 1]
    assert [len(caller.answered) for caller in callers] == [1] * 7


async def test_a_wrong_request_is_declined_alone(
    store: MemoryEventStore, services: Services
) -> None:
    wrong = Caller("Which?", arms=["finetund"])
    callers = [Caller("One?"), wrong, Caller("Two?"), Caller(" ")]
    await ask(services, callers)
    assert [len(caller.answered) for caller in callers] == [1, 0, 1, 0]
    assert [caller.declined for caller in callers] == [0, 1, 0, 1]
    assert await services.log.flush()
    assert [event.query for event in store.events if isinstance(event, DecisionMade)] == [
        "One?",
        "Two?",
    ]


async def test_who_hung_up_is_neither_decided_for_nor_answered(
    services: Services, sizes: list[int]
) -> None:
    gone = Caller("Gone?", wanted=False)
    stayed = Caller("Here?")
    await ask(services, [gone, stayed])
    assert sizes == [1]
    assert (gone.answered, gone.declined, len(stayed.answered)) == ([], 0, 1)
    await ask(services, [Caller("Gone?", wanted=False)])
    assert sizes == [1]


async def test_what_comes_after_a_turn_is_another_turns(
    services: Services, sizes: list[int]
) -> None:
    gathering = Gathering(services)
    for number in (1, 2):
        caller = Caller("Who?")
        gathering.add(caller)
        await asyncio.sleep(0)
        assert sizes == [1] * number
