"""The queue before a slow encoder."""

import asyncio
from threading import Event

import pytest

from router.encoding_pool import EncodingPool
from router.errors import EncoderBusyError


async def test_who_gives_up_while_waiting_leaves_the_queue_and_is_never_encoded() -> None:
    pool, begun, go_on, made = EncodingPool(1, 1), Event(), Event(), []

    def stuck() -> None:
        begun.set()
        assert go_on.wait(60)

    first = asyncio.create_task(pool.run(stuck))
    waiting = asyncio.create_task(pool.run(lambda: made.append("waiting")))
    while pool.state().depth < 2 or not begun.is_set():
        await asyncio.sleep(0)
    with pytest.raises(EncoderBusyError):
        await pool.run(lambda: None)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pool.state() == (1, 1)
    another = asyncio.create_task(pool.run(lambda: made.append("another")))
    while pool.state().depth < 2:
        await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, another)
    assert made == ["another"]
    assert pool.state() == (0, 1)
    pool.close()


async def test_an_error_reaches_the_caller_and_frees_the_place() -> None:
    pool = EncodingPool(1, 0)

    def fails() -> None:
        raise ValueError("as it was raised")

    for _ in range(3):
        with pytest.raises(ValueError, match="as it was raised"):
            await pool.run(fails)
        assert pool.state() == (0, 0)
    pool.close()


async def test_a_stopped_pool_refuses() -> None:
    pool = EncodingPool(1, 1)
    pool.close()
    with pytest.raises(EncoderBusyError, match="stopping"):
        await pool.run(lambda: None)
    assert pool.state().depth == 0
