"""The watch acts once, whoever keeps it."""

from collections.abc import Callable

import msgspec
import pytest

from policies.registries.memory import MemoryPolicyRegistry
from policies.rollout import Rollout
from router.log.memory_reader import MemoryEventReader
from router.log.memory_store import MemoryEventStore
from router.metrics import Metrics
from router.rollout.watch import RolloutWatch
from router.settings import RolloutSettings
from tests.policies.registries.test_policy_registries import _artifact
from tests.rollout_world import World
from tests.router.rollout.test_reading import feedback

HARM = World(good=((0.9, 0.1, 0.5),) * 2, incumbent=(0, 0), candidate=(1, 1), share=0.3)


class Follower:
    """A policy watcher in short: what the registry says, and how often it was told to look."""

    def __init__(self, registry: MemoryPolicyRegistry) -> None:
        self._registry = registry
        self.followed = 0

    @property
    def rollout(self) -> Rollout | None:
        return self._registry.rollout()

    async def follow(self) -> None:
        self.followed += 1


class Fleet:
    """Processes that watch over one registry and one store, with a clock for the lease."""

    def __init__(self, settings: RolloutSettings = RolloutSettings()) -> None:
        self.now = 1_000.0
        self.registry = MemoryPolicyRegistry(clock=lambda: self.now)
        self.store = MemoryEventStore()
        self.settings = settings
        self.followers: dict[str, Follower] = {}
        self.metrics: dict[str, Metrics] = {}
        for number in (1, 2):
            self.registry.publish(_artifact(number))
        self.incumbent, self.candidate = (_artifact(number).version for number in (1, 2))
        self.registry.activate(self.incumbent)

    def watch(self, owner: str) -> RolloutWatch:
        self.followers[owner] = Follower(self.registry)
        self.metrics[owner] = Metrics()
        return RolloutWatch(
            self.registry,
            MemoryEventReader(self.store),
            self.followers[owner],
            self.settings,
            self.metrics[owner],
            owner,
        )

    async def traffic(self, world: World, rounds: int, seed: int = 0) -> None:
        """Decisions of the present rollout, each with its feedback."""
        for decision, reward in world.rounds(rounds, seed):
            mine = msgspec.structs.replace(decision, candidate=self.candidate, at=self.now)
            await self.store.append([mine, feedback(mine, reward or 0.0)])


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def rollbacks(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("rag_router_rollbacks_total", {"by": "watch"}) or 0.0


async def test_a_harmful_canary_is_rolled_back_with_its_figures(fleet: Fleet) -> None:
    """Once, by the process that keeps the watch; the incumbent stays active."""
    one, two = fleet.watch("one"), fleet.watch("two")
    fleet.registry.roll_out(fleet.candidate, share=HARM.share)
    await one.look()
    await fleet.traffic(HARM, 600)
    for watch in (two, one, two):
        await watch.look()
    assert fleet.registry.rollout() is None
    active = fleet.registry.active()
    assert active is not None
    assert active.version == fleet.incumbent
    [ended] = fleet.registry.past_rollouts()
    assert (ended.outcome, ended.by) == ("rolled_back", "rollout watch")
    assert "quality -0." in ended.note
    assert "in 600 rounds" in ended.note
    assert (rollbacks(fleet.metrics["one"]), rollbacks(fleet.metrics["two"])) == (1.0, 0.0)
    assert fleet.followers["one"].followed == 1


async def test_an_equal_canary_stays(fleet: Fleet) -> None:
    """Null: seeded; one of two equal arms for the other is found worse with probability 5 %."""
    equal = World(good=((0.5, 0.5, 0.5),) * 2, incumbent=(0, 0), candidate=(1, 1), share=0.3)
    watch = fleet.watch("one")
    fleet.registry.roll_out(fleet.candidate, share=0.3)
    for seed in range(5):
        await fleet.traffic(equal, 100, seed)
        await watch.look()
    assert fleet.registry.rollout() is not None
    assert watch.report is not None
    assert (watch.report.verdict, watch.report.metrics[0].rounds) == ("watching", 500)


async def test_a_harmful_shadow_is_told_but_nothing_is_rolled_back(fleet: Fleet) -> None:
    """It costs nobody anything."""
    shadow = World(good=HARM.good, incumbent=(0, 0), candidate=(1, 1), share=0.0)
    watch = fleet.watch("one")
    fleet.registry.roll_out(fleet.candidate)
    await fleet.traffic(shadow, 3_000)
    await watch.look()
    assert watch.report is not None
    assert watch.report.verdict == "worse"
    assert fleet.registry.rollout() is not None


async def test_another_process_goes_on_where_a_dead_one_stopped(fleet: Fleet) -> None:
    """Once its lease has run out; nothing is counted twice."""
    one, two = fleet.watch("one"), fleet.watch("two")
    fleet.registry.roll_out(fleet.candidate, share=0.3)
    await fleet.traffic(HARM, 60)
    await one.look()
    await two.look()
    assert two.report == one.report
    await fleet.traffic(HARM, 20, seed=1)
    await two.look()
    assert two.report == one.report
    fleet.now += 16.0
    await two.look()
    assert two.report is not None
    assert two.report.metrics[0].rounds == 80
    await one.look()
    assert one.report == two.report


async def test_a_process_that_lost_its_lease_on_the_way_acts_on_nothing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it read meanwhile isn't kept, so that its successor may read it too."""
    one, two = fleet.watch("one"), fleet.watch("two")
    fleet.registry.roll_out(fleet.candidate, share=0.3)
    await fleet.traffic(HARM, 600)
    hold: Callable[[str, float], bool] = fleet.registry.hold_watch

    def stall(owner: str, lease_s: float) -> bool:
        held = hold(owner, lease_s)
        if owner == "one" and held:
            fleet.now += 60.0
            assert hold("two", lease_s)
        return held

    monkeypatch.setattr(fleet.registry, "hold_watch", stall)
    await one.look()
    monkeypatch.undo()
    assert fleet.registry.rollout() is not None
    assert fleet.registry.watch_report() is None
    await two.look()
    assert fleet.registry.rollout() is None


async def test_the_next_canary_of_the_same_policy_begins_anew(fleet: Fleet) -> None:
    """Rolled back by hand and tried again later: its own evidence counts."""
    watch = fleet.watch("one")
    fleet.registry.roll_out(fleet.candidate, share=0.3)
    await fleet.traffic(HARM, 50)
    await watch.look()
    fleet.registry.rollback()
    await watch.look()
    assert watch.report is None
    fleet.now += 3_600.0
    fleet.registry.roll_out(fleet.candidate, share=0.3)
    await watch.look()
    assert watch.report is not None
    assert watch.report.metrics[0].rounds == 0


async def test_what_is_done_by_itself_is_a_choice() -> None:
    """Without auto_rollback it is only said; with auto_promote a proven canary gets all draws."""
    fleet = Fleet(RolloutSettings(auto_rollback=False))
    watch = fleet.watch("one")
    fleet.registry.roll_out(fleet.candidate, share=0.3)
    await fleet.traffic(HARM, 600)
    await watch.look()
    assert watch.report is not None
    assert watch.report.verdict == "worse"
    assert fleet.registry.rollout() is not None

    gain = World(good=HARM.good, incumbent=(1, 1), candidate=(0, 0), share=0.3)
    for auto in (False, True):
        fleet = Fleet(RolloutSettings(course_rounds=500, auto_promote=auto))
        watch = fleet.watch("one")
        fleet.registry.roll_out(fleet.candidate, share=0.3)
        await fleet.traffic(gain, 600)
        await watch.look()
        assert watch.report is not None
        assert watch.report.verdict == "ready"
        active = fleet.registry.active()
        assert active is not None
        assert active.version == (fleet.candidate if auto else fleet.incumbent)
