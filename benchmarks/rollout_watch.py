"""How often the watch rolls back a harmless canary, how soon a harmful one, and what both cost.

    python benchmarks/rollout_watch.py [--canaries 100] [--decisions 2000] [--seed 0]

Each canary is a simulated world of two kinds of queries and three arms with known rewards; the
watch looks after every 25 decisions, with the shipped settings (alpha .05, tolerated .01). Then the
time of a decision with and without a candidate (a linear policy, three arms), and how many events a
second the watch reads and judges, both on one thread.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import asyncio
import platform
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from policies.artifact import Manifest
from policies.encoders import load_encoder
from policies.events import FeedbackGiven
from policies.exploration import Exploration
from policies.features import Featurizer
from policies.linear_policy import LinearPolicy
from policies.rollout import Rollout
from router.api.schemas import RouteRequest
from router.deciding.decider import Decider
from router.log.event_reader import Entry, StreamName
from router.log.memory_reader import MemoryEventReader
from router.log.memory_store import MemoryEventStore
from router.rollout.evidence import EvidenceBook
from router.rollout.reading import RolloutReading
from router.serving_policy import ServingPolicy, fit_to_service
from router.settings import RolloutSettings, Settings
from tests.rollout_world import CANDIDATE, World

LOOK_EVERY = 25
STREAMS: tuple[StreamName, ...] = ("decisions", "feedback")
EQUAL = World(
    good=((0.6, 0.6, 0.3), (0.4, 0.4, 0.8)), incumbent=(0, 0), candidate=(1, 1), share=0.1
)
SKEWED = replace(EQUAL, reporting=(0.6, 0.2, 0.6), expected=(0.8, 0.4, 0.5))
WORSE = World(
    good=((0.8, 0.2, 0.5), (0.6, 0.6, 0.5)), incumbent=(0, 0), candidate=(1, 1), share=0.05
)
A_LITTLE = replace(WORSE, good=((0.7, 0.5, 0.5), (0.6, 0.6, 0.5)))
WORLDS = {
    "equal, share .1": EQUAL,
    "equal, share .5": replace(EQUAL, share=0.5),
    "equal, arms reported .6/.2/.6, wrong expectations": SKEWED,
    "worse by .25, share .01": replace(WORSE, share=0.01),
    "worse by .25, share .05": WORSE,
    "worse by .25, share .2": replace(WORSE, share=0.2),
    "worse by .08, share .2": replace(A_LITTLE, share=0.2),
    "worse by .25, in shadow (told, not rolled back)": replace(WORSE, share=0.0),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--canaries", type=int, default=100)
    parser.add_argument("--decisions", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, ")
    print(f"{datetime.now(UTC):%Y-%m-%d}, {options.canaries} canaries a row, seed {options.seed}")
    head = f"of {options.canaries} found worse within {options.decisions:,} decisions"
    print(f"{'world':<50}{head:>45}   decisions until then: median (10 % to 90 %)")
    for name, world in WORLDS.items():
        ends = [
            decisions_until_worse(world, options.decisions, options.seed + number)
            for number in range(options.canaries)
        ]
        found = [end for end in ends if end is not None]
        spread = np.percentile(found, [50, 10, 90]) if found else [np.nan] * 3
        share = f"{len(found)} ({interval(len(found), len(ends))})"
        print(f"{name:<50}{share:>45}   {spread[0]:.0f} ({spread[1]:.0f} to {spread[2]:.0f})")
    decision_times()
    print(f"the watch reads and judges {events_a_second():,.0f} events a second")


def decisions_until_worse(world: World, decisions: int, seed: int) -> int | None:
    """After how many decisions it is found worse; None if never."""
    book = EvidenceBook(RolloutSettings())
    for number, (decision, reward) in enumerate(world.rounds(decisions, seed), start=1):
        book.decided(decision)
        if reward is not None:
            book.reported(decision, "quality", reward)
        if number % LOOK_EVERY == 0 and book.verdict() == "worse":
            return number
    return None


def interval(hits: int, n: int) -> str:
    """Wilson's 95 % interval of a share."""
    p, z = hits / n, 1.96
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return f"{max(middle - half, 0.0):.3f} to {middle + half:.3f}"


def decision_times() -> None:
    """Print the median time of a decision alone, with a shadow and in a canary."""
    featurizer = Featurizer(load_encoder())
    decider = Decider(Settings(), featurizer)
    policies = [linear(decider, featurizer, seed) for seed in (0, 1)]
    request = RouteRequest(query="When was the director of the film Madame Lu born, and where?")
    kinds = {
        "alone": policies[0],
        "with a shadow": policies[0]._replace(candidate=policies[1]),
        "in a canary": policies[0]._replace(candidate=policies[1], candidate_share=0.05),
    }
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(3_000):  # in turns, so that what slows the machine slows them alike
        for name, serving in kinds.items():
            began = time.perf_counter()
            decider.decide([request], serving)
            taken[name].append(time.perf_counter() - began)
    for name, seconds in taken.items():
        print(f"a decision {name}: {np.median(seconds) * 1e6:.0f} µs")


def linear(decider: Decider, featurizer: Featurizer, seed: int) -> ServingPolicy:
    """A policy of the shipped kind, with three metrics."""
    draws = np.random.default_rng(seed)
    arms, metrics = [arm.name for arm in decider.arms], ["quality", "cost_usd", "latency_s"]
    manifest = Manifest(
        kind="linear",
        name="benchmark",
        arms=arms,
        metrics=metrics,
        feature_version=featurizer.version,
        created_at="",
    )
    shape = (len(arms), len(metrics), featurizer.dimension)
    policy = LinearPolicy(
        manifest,
        draws.normal(size=shape).astype(np.float32) * np.float32(0.1),
        np.zeros(shape[:2]),
        np.array([1, 0, 0], dtype=np.int8),
    )
    return fit_to_service(
        policy,
        decider.arms,
        featurizer.version,
        featurizer.dimension,
        Exploration(),
        promoted=True,
    )


def events_a_second(rounds: int = 2_000) -> float:
    """Decisions and feedback in equal numbers, from memory, without the pauses."""
    store = MemoryEventStore()
    for decision, reward in EQUAL.rounds(rounds, 0):
        given = FeedbackGiven(
            feedback_id=decision.decision_id,
            decision_id=decision.decision_id,
            metric="quality",
            value=reward or 0.0,
            at=0.0,
        )
        asyncio.run(store.append([decision, given]))
    canary = Rollout(version=CANDIDATE, stage="canary", share=0.1, began=1_000.0, at=1_000.0)
    reader = _Listed(store)
    reading = RolloutReading(canary, reader, RolloutSettings(), pause=lambda _: None)
    began = time.perf_counter()
    read = reading.catch_up(2 * rounds)
    return read / (time.perf_counter() - began)


class _Listed(MemoryEventReader):
    """The twin scans all events at each call; this gives them out of two lists."""

    def __init__(self, store: MemoryEventStore) -> None:
        super().__init__(store)
        whole = MemoryEventReader(store)
        self._entries = {name: whole.read(name, "0", 10**9) for name in STREAMS}

    def read(self, stream: StreamName, after: str, limit: int) -> list[Entry]:  # noqa: ARG002
        entries = self._entries[stream]
        self._entries[stream] = entries[limit:]
        return entries[:limit]


if __name__ == "__main__":
    main()
