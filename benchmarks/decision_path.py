"""How long a decision takes in process, on one thread: a 14-token query, three arms, three metrics.

    python benchmarks/decision_path.py [--json FILE] [--calls 5000]

prints the median and the 99th percentile of each part and of the whole: for the same query again
and again, for one query after another, and for each of a batch of 8, 32 and 64. The policy is of
the kind and size that training on outcomes ships: 256 landmarks, 192 hidden units, a head for every
arm and metric on each, a posterior for Thompson sampling, and what queries it knows; what its
numbers are makes no difference to the time.

Batches are of different queries, so that nothing is measured that one query leaves in a cache; the
same query again and again finds its rows of the token table there, different queries don't.

    python benchmarks/decision_path.py --seconds 20

does nothing but decide, one request at a time, for a profiler to look at:
`py-spy record --rate 500 --format raw -o decision.txt -- python benchmarks/decision_path.py
--seconds 20`, then `python benchmarks/profile_shares.py decision.txt`.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from itertools import cycle, product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from bench_report import Report, write_report
from bench_report import Row as ReportRow

from policies.artifact import Manifest
from policies.blend_policy import BlendPolicy
from policies.encoders import load_encoder
from policies.events import encode_event
from policies.exploration import Exploration
from policies.features import Featurizer
from policies.posterior import Posterior, PosteriorTensors
from policies.question import QUESTION_FEATURES, question_features
from policies.reward_model import HiddenLayer, Landmarks, RewardModel, Scaling
from router.api.schemas import RouteRequest
from router.deciding.decider import Decider
from router.serving_policy import ServingPolicy, fit_to_service
from router.settings import Settings

QUERY = "When was the director of the film Madame Lu born, and where?"
ARMS, METRICS = ("finetuned", "retrieve", "hybrid"), ("quality", "cost_usd", "latency_s")
BATCHES, WARM_UP = (8, 32, 64), 500

Kind = Literal["squarecb", "thompson"]
Row = tuple[str, float, float]


def main() -> None:
    """Time each part, or only decide."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--calls", type=int, default=5000)
    options.add_argument("--json", type=Path, metavar="FILE")
    options.add_argument("--seconds", type=float, help="only decide, for a profiler")
    given = options.parse_args()
    featurizer = Featurizer(load_encoder())
    decider = Decider(Settings(), featurizer)
    if given.seconds is not None:
        decide_for(given.seconds, decider)
        return
    rows = parts(decider, given.calls)
    machine = f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}"
    print(machine)
    print(f"{'part':<46}{'p50 µs':>8}{'p99 µs':>8}")
    for name, p50, p99 in rows:
        print(f"{name:<46}{p50:>8.1f}{p99:>8.1f}")
    write_report(given.json, Report("decision_path", reported(rows)))


def reported(rows: Sequence[Row]) -> list[ReportRow]:
    """The same rows for a report, with the goals of the whole decision."""
    whole = "the whole decision, squarecb"
    goals = {(whole, 50): "<= 60", (whole, 99): "<= 400"}
    goals |= {(in_batch("squarecb", size), 50): "<= 25" for size in BATCHES}
    return [
        ReportRow(f"{name}, p{rank}", value, "µs", goals.get((name, rank)))
        for name, p50, p99 in rows
        for rank, value in ((50, p50), (99, p99))
    ]


def parts(decider: Decider, calls: int) -> list[Row]:
    """Each part's name, and its median and 99th percentile in microseconds."""
    featurizer, request = decider.featurizer, RouteRequest(query=QUERY)
    serving = {kind: served(decider, kind) for kind in ("squarecb", "thompson")}
    policy = serving["squarecb"]
    [decision] = decider.decide([request], policy)
    features = featurizer.features([QUERY])
    timed: dict[str, Callable[[], object]] = {
        "encode the query": lambda: featurizer.encoder.encode([QUERY]),
        "question features": lambda: question_features(QUERY),
        "all features, rounded as they are logged": lambda: featurizer.features([QUERY]),
        "is the query known?": lambda: policy.known.foreign(features, 0.005),
        "all heads": lambda: policy.expected(features),
        "encode the event": lambda: encode_event(decision.event),
    }
    rows = [(name, *percentiles(call, calls)) for name, call in timed.items()]
    for kind, served_with in serving.items():
        whole = percentiles(lambda s=served_with: decider.decide([request], s), calls)
        rows.append((f"the whole decision, {kind}", *whole))
        rows += of_different_queries(decider, served_with, kind, calls)
    return rows


def of_different_queries(
    decider: Decider, serving: ServingPolicy, kind: Kind, calls: int
) -> list[Row]:
    """The whole decision, one query after another and in batches, for each of them."""
    requests = different_requests(1000)
    for start in range(0, len(requests), 100):  # what a service has seen: words, not queries
        decider.decide(requests[start : start + 100], serving)
    following = cycle(requests)
    alone = percentiles(lambda: decider.decide([next(following)], serving), calls)
    rows: list[Row] = [(f"the same, different queries, {kind}", *alone)]
    for size in BATCHES:
        batches = cycle([requests[start : start + size] for start in range(0, 960, size)])
        together = percentiles(lambda b=batches: decider.decide(next(b), serving), calls // 8)
        rows.append((in_batch(kind, size), *(taken / size for taken in together)))
    return rows


def in_batch(kind: str, size: int) -> str:
    """What a row is called."""
    return f"in a batch of {size}, each, {kind}"


def decide_for(seconds: float, decider: Decider) -> None:
    """Decide on one request after another."""
    serving, requests = served(decider, "squarecb"), different_requests(1000)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for request in requests:
            decider.decide([request], serving)


def different_requests(count: int) -> list[RouteRequest]:
    """Requests of about 14 tokens, no two the same."""
    openings = ("When was", "Where was", "Who knew", "Is it true that", "Which prize had")
    people = ("director", "author", "founder", "composer", "owner")
    works = ("film", "novel", "company", "opera", "newspaper")
    names = ("Madame Lu", "Blue Harbour", "North Gate", "The Long Way", "Silver Fern")
    ends = ("born, and where", "seen last", "married", "given a prize", "buried", "young", "poor")
    texts = [
        f"{opening} the {person} of the {work} {name} {end}?"
        for opening, person, work, name, end in product(openings, people, works, names, ends)
    ]
    order = np.random.default_rng(0).permutation(len(texts))
    return [RouteRequest(query=texts[index]) for index in order[:count]]


def served(decider: Decider, kind: Kind) -> ServingPolicy:
    """A policy of three arms and three metrics, promoted."""
    featurizer = decider.featurizer
    return fit_to_service(
        blend(featurizer),
        decider.arms,
        featurizer.version,
        featurizer.dimension,
        Exploration(kind=kind),
        promoted=True,
    )


def blend(featurizer: Featurizer) -> BlendPolicy:
    """A policy of three arms and three metrics, of the size that training ships."""
    d = featurizer.dimension
    manifest = Manifest(
        kind="blend",
        name="for timing",
        arms=list(ARMS),
        metrics=list(METRICS),
        feature_version=featurizer.version,
        created_at="",
    )
    return BlendPolicy(manifest, reward_model(d), carried={**known(d), **posterior(d)})


def numbers(seed: int, *shape: int) -> np.ndarray:
    """Small ones."""
    return (0.05 * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def reward_model(d: int) -> RewardModel:
    """All blocks of the usual sizes."""
    return RewardModel(
        scaling=Scaling(numbers(0, d), np.ones(d, dtype=np.float32)),
        intercepts=np.random.default_rng(1).random((3, 3)),
        bounded=np.array([True, False, False]),
        linear=numbers(2, 3, 3, d),
        landmarks=Landmarks(numbers(3, 256, d), 1.0),
        landmark_heads=numbers(4, 3, 3, 256),
        hidden=HiddenLayer(numbers(5, d, 192), numbers(6, 192)),
        hidden_heads=numbers(7, 3, 3, 192),
    )


def known(d: int) -> dict[str, Any]:
    """What queries a policy knows, of the usual sizes; none is unlike them."""
    channels = 1 + len(QUESTION_FEATURES) + 8
    tensors = {
        "shift": numbers(8, d),
        "scale": np.ones(d, dtype=np.float32),
        "prototypes": numbers(9, 64, d),
        "distances": np.linspace(0.0, 1e7, 2000, dtype=np.float32),
        "directions": numbers(10, 8, d),
        "edges": np.sort(numbers(11, channels, 16)),
        "counts": np.ones((channels, 33), dtype=np.int64),
    }
    return {f"known_{name}": tensor for name, tensor in tensors.items()}


def posterior(d: int) -> dict[str, Any]:
    """How sure a policy is of its arms, of the usual size."""
    return Posterior(
        PosteriorTensors(
            coefficients=numbers(12, 3, 3, d),
            intercepts=np.random.default_rng(1).random((3, 3)),
            scale=np.ones(d, dtype=np.float32),
            centres=numbers(13, 3, d),
            directions=np.linalg.qr(numbers(14, 3, d, 32))[0].transpose(0, 2, 1).copy(),
            gains=np.full((3, 3, 32), 1e-3),
            remainder=np.full((3, 3), 2e-3),
            rows=np.full((3, 3), 1000.0),
            noise=np.tile([0.2, 1e-6, 0.1], (3, 1)),
        )
    ).tensors


def percentiles(call: Callable[[], object], calls: int) -> Sequence[float]:
    """The median and the 99th percentile of a call's microseconds."""
    for _ in range(min(WARM_UP, calls)):
        call()
    taken = np.empty(calls)
    for index in range(calls):
        began = time.perf_counter()
        call()
        taken[index] = time.perf_counter() - began
    return [float(value) for value in np.percentile(taken * 1e6, [50, 99])]


if __name__ == "__main__":
    main()
