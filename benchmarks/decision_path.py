"""How long a decision takes in process, on one thread: a 14-token query, three arms, three metrics.

    python benchmarks/decision_path.py

prints the median and the 99th percentile of each part, over 5,000 calls after a warm-up.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import platform
import time
from collections.abc import Callable

import numpy as np

from policies.encoders import load_encoder
from policies.events import encode_event
from policies.exploration import Exploration
from policies.features import Featurizer
from policies.question import question_features
from policies.rule_policy import RulePolicy
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
        RulePolicy(decider.arms),
        decider.arms,
        featurizer.version,
        featurizer.dimension,
        Exploration(),
        promoted=False,
    )
    request = RouteRequest(query=QUERY)
    [decision] = decider.decide([request], serving)
    parts: dict[str, Callable[[], object]] = {
        "encode the query": lambda: featurizer.encoder.encode([QUERY]),
        "question features": lambda: question_features(QUERY),
        "all features": lambda: featurizer.features([QUERY]),
        "encode the event": lambda: encode_event(decision.event),
        "the whole decision": lambda: decider.decide([request], serving),
        "a batch of 64, each": lambda: decider.decide([request] * 64, serving),
    }
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    print(f"{'part':<22}{'p50 µs':>8}{'p99 µs':>8}")
    for name, call in parts.items():
        share = 64 if name.startswith("a batch") else 1
        p50, p99 = np.percentile(times(call, CALLS // share), [50, 99]) / share
        print(f"{name:<22}{p50:>8.1f}{p99:>8.1f}")


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
