"""This project's decision in process: what `POST /v1/route` does between decoding and answering.

Runs under the project's own Python. The policy is `decision_path.py`'s: of the kind and size that
training on outcomes ships; what its numbers are makes no difference to the time.
"""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from decision_path import served
from protocol import Peer, Way, serve

from policies.encoders import load_encoder
from policies.features import Featurizer
from router.api.schemas import RouteRequest
from router.deciding.decider import Decider
from router.settings import Settings


def build(arms: list[str], train: list[dict[str, Any]]) -> Peer:
    """The default service's three arms, three metrics, SquareCB over them."""
    del arms, train  # only their number matters, and that is three by default
    decider = Decider(Settings(), Featurizer(load_encoder()))
    serving = served(decider, "squarecb")
    way = Way(
        "decide",
        "embedding and question features; quality, cost and latency expected of each arm; rules, "
        "the request's objective; a seeded SquareCB draw with its exact propensity; the reply with "
        "its reasons, and the event for the log",
        lambda query: decider.decide([RouteRequest(query=query)], serving),
        call_batch=lambda queries: decider.decide(
            [RouteRequest(query=query) for query in queries], serving, in_batch=True
        ),
    )
    return Peer(["numpy", "tokenizers"], [way])


if __name__ == "__main__":
    serve(build)
