"""What an answer has taken: an unknown part makes the whole unknown."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from router.answers.backends import GuardedModel
from router.answers.breakers import Breaker
from router.answers.budget import Deadline, Spending
from router.models.errors import ModelError, ModelInterruptedError, ModelTimeoutError
from router.models.model_server import Chunk, Patience
from router.models.scripted_server import ScriptedServer
from router.settings import BreakerSettings, PriceSettings

BODY = {"messages": [{"role": "user", "content": "one two"}]}
PATIENCE = Patience(1.0, 1.0)


def guarded(server: ScriptedServer, *, priced: bool = True) -> GuardedModel:
    price = PriceSettings(input=1.0, output=10.0) if priced else None
    return GuardedModel(server, Breaker("model m", BreakerSettings()), price=price)


async def read(spending: Spending, model: GuardedModel) -> None:
    async for _ in spending.stream(model, BODY, PATIENCE):
        pass


async def test_calls_add_up() -> None:
    spending = Spending()
    assert spending.cost_usd is None
    for _ in range(2):
        await read(spending, guarded(ScriptedServer("a b c")))
    assert (spending.input_tokens, spending.output_tokens) == (4, 6)
    assert spending.cost_usd == pytest.approx(2 * (2 + 30) / 1000)


async def test_a_model_without_a_price_hides_the_cost() -> None:
    spending = Spending()
    await read(spending, guarded(ScriptedServer("a")))
    await read(spending, guarded(ScriptedServer("a"), priced=False))
    assert spending.cost_usd is None
    assert spending.output_tokens == 2


@pytest.mark.parametrize("error", [ModelInterruptedError("cut"), ModelTimeoutError("late")])
async def test_a_call_that_broke_off_hides_it_too(error: ModelError) -> None:
    spending = Spending()
    await read(spending, guarded(ScriptedServer("a")))
    with pytest.raises(ModelError):
        await read(spending, guarded(ScriptedServer(lambda _: ["a", error])))
    assert spending.cost_usd is None


async def test_so_does_one_that_was_given_up_before_its_first_token() -> None:
    class Silent(ScriptedServer):
        async def stream(self, *_: Any) -> AsyncGenerator[Chunk, None]:
            await asyncio.Event().wait()
            yield {}

    spending = Spending()
    await read(spending, guarded(ScriptedServer("a")))
    call = asyncio.create_task(read(spending, guarded(Silent(""))))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert spending.cost_usd is None


def test_while_another_model_waits_some_time_is_left_for_it() -> None:
    now = [100.0]
    deadline = Deadline(8.0, lambda: now[0])
    assert deadline.patience(alternatives=True) == Patience(4.0, 6.0)
    assert deadline.patience(alternatives=False) == Patience(8.0, 8.0)
    now[0] += 9.0
    assert deadline.left_s == 0.0
