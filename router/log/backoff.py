"""How long the log waits before it tries again."""

import asyncio
import random


async def pause(attempt: int, longest_s: float, stopping: asyncio.Event) -> None:
    """Wait before the next attempt, twice as long each time, with jitter, unless stopped."""
    longest = min(0.1 * 2 ** min(attempt, 10), longest_s)
    try:
        async with asyncio.timeout(longest * random.uniform(0.5, 1.0)):
            await stopping.wait()
    except TimeoutError:
        return
