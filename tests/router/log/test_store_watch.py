"""The watch over the store's state."""

import asyncio

from router.log.errors import StoreUnavailableError
from router.log.memory_store import MemoryEventStore
from router.log.store_state import StoreState
from router.log.store_watch import StoreWatch
from tests.event_factory import decision


class SwitchedStore(MemoryEventStore):
    """The twin, with a fault that each look raises."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Exception | None = None
        self.looks = 0

    async def state(self) -> StoreState:
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        return await super().state()


async def looked_again(store: SwitchedStore) -> None:
    """Return after a whole look has begun and ended."""
    async with asyncio.timeout(30):
        before = store.looks
        while store.looks < before + 2:
            await asyncio.sleep(0.001)


async def test_what_was_seen_last_stays_while_the_store_is_away() -> None:
    """Whatever a look raises, the next one comes."""
    store = SwitchedStore()
    watch = StoreWatch(store, every_s=0.001)
    assert watch.state is None
    await watch.start()
    await store.append([decision(1)])
    await looked_again(store)
    for fault in (StoreUnavailableError("away"), ValueError("a reply of another release")):
        store.fault = fault
        await looked_again(store)
        assert watch.state == StoreState(decisions=1)
    store.fault = None
    await store.append([decision(2)])
    await looked_again(store)
    assert watch.state == StoreState(decisions=2)
    await watch.stop()


async def test_a_watch_that_never_began_stops() -> None:
    await StoreWatch(MemoryEventStore()).stop()
