"""How long a decision takes in process, on one thread: a 14-token query, three arms, three metrics.

    python benchmarks/decision_path.py

prints the median and the 99th percentile of each part, over 5,000 calls after a warm-up. The policy
is of the kind and size that training on outcomes ships: 256 landmarks, 192 hidden units, a head for
every arm and metric on each; what its numbers are makes no difference to the time.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import platform
import time
from collections.abc import Callable

import numpy as np

from policies.arms import arm_names
from policies.artifact import Manifest
from policies.blend_policy import BlendPolicy
from policies.encoders import load_encoder
from policies.events import encode_event
from policies.exploration import Exploration
from policies.features import Featurizer
from policies.question import question_features
from policies.reward_model import HiddenLayer, Landmarks, RewardModel, Scaling
from router.api.schemas import RouteRequest
from router.deciding.decider import Decider
from router.serving_policy import fit_to_service
from router.settings import Settings

QUERY = "When was the director of the film Madame Lu born, and where?"
CALLS, WARM_UP = 5000, 500


def main() -> None:
    """Time each part."""
    featurizer = Featurizer(load_encoder())
    decider = Decider(Settings(), featurizer)
    serving = fit_to_service(
        blend(featurizer),
        decider.arms,
        featurizer.version,
        featurizer.dimension,
        Exploration(),
        promoted=True,
    )
    request = RouteRequest(query=QUERY)
    [decision] = decider.decide([request], serving)
    features = featurizer.features([QUERY])
    parts: dict[str, Callable[[], object]] = {
        "encode the query": lambda: featurizer.encoder.encode([QUERY]),
        "question features": lambda: question_features(QUERY),
        "all features": lambda: featurizer.features([QUERY]),
        "all heads": lambda: serving.expected(features),
        "question features and all heads": lambda: (
            question_features(QUERY),
            serving.expected(features),
        ),
        "encode the event": lambda: encode_event(decision.event),
        "the whole decision": lambda: decider.decide([request], serving),
        "a batch of 64, each": lambda: decider.decide([request] * 64, serving),
    }
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    print(f"{'part':<34}{'p50 µs':>8}{'p99 µs':>8}")
    for name, call in parts.items():
        share = 64 if name.startswith("a batch") else 1
        p50, p99 = np.percentile(times(call, CALLS // share), [50, 99]) / share
        print(f"{name:<34}{p50:>8.1f}{p99:>8.1f}")


def blend(featurizer: Featurizer) -> BlendPolicy:
    """A policy of three arms and three metrics."""
    rng = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return (0.05 * rng.normal(size=shape)).astype(np.float32)

    d = featurizer.dimension
    manifest = Manifest(
        kind="blend",
        name="for timing",
        arms=list(arm_names(Decider(Settings(), featurizer).arms)),
        metrics=["quality", "cost_usd", "latency_s"],
        feature_version=featurizer.version,
        created_at="",
    )
    model = RewardModel(
        scaling=Scaling(numbers(d), np.ones(d, dtype=np.float32)),
        intercepts=rng.random((3, 3)),
        bounded=np.array([True, False, False]),
        linear=numbers(3, 3, d),
        landmarks=Landmarks(numbers(256, d), 1.0),
        landmark_heads=numbers(3, 3, 256),
        hidden=HiddenLayer(numbers(d, 192), numbers(192)),
        hidden_heads=numbers(3, 3, 192),
    )
    return BlendPolicy(manifest, model)


def times(call: Callable[[], object], calls: int) -> np.ndarray:
    """Microseconds of each call."""
    for _ in range(min(WARM_UP, calls)):
        call()
    taken = np.empty(calls)
    for index in range(calls):
        began = time.perf_counter()
        call()
        taken[index] = time.perf_counter() - began
    return taken * 1e6


if __name__ == "__main__":
    main()
