"""aurelio-labs/semantic-router: the route whose example utterances are nearest to the query.

Timed with its Hugging Face encoder on all-MiniLM-L6-v2, and with this project's own static encoder
given to it. It searches every example at every query, so the examples' number matters: ten a route,
as its documentation has them, and every training query, which is what the other routers learn from.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

import minilm
from best_arm import best_arms
from protocol import Peer, Way, serve
from semantic_router import Route
from semantic_router.encoders import DenseEncoder, HuggingFaceEncoder

from policies.encoders import load_encoder

try:
    from semantic_router import IndexedRouter
except ImportError:  # before 1.0
    IndexedRouter = None

FEW = 10
SAME_TABLE = "same static table"
DOES = "the nearest route and its similarity: one score, no metrics, no exploration, no record"


class StaticEncoder(DenseEncoder):
    """This project's encoder as semantic-router wants one."""

    name: str = "static"

    def __call__(self, docs: list[Any]) -> list[list[float]]:
        """Unit vectors, as lists."""
        return _STATIC.encode(docs).tolist()

    async def acall(self, docs: list[Any]) -> list[list[float]]:
        """The same: it is over sooner than a thread could be asked."""
        return self(docs)


_STATIC = load_encoder()


def build(arms: list[str], train: list[dict[str, Any]]) -> Peer:
    """A router of each encoder; of the static one, with few examples and with all of them."""
    few, everything = examples(arms, train, FEW), examples(arms, train, len(train))
    static = f"{SAME_TABLE}, {count(few)}"
    ways = [
        Way(f"MiniLM, {count(few)}", DOES, router_of(HuggingFaceEncoder(name=minilm.PATH), few)),
        Way(static, DOES, router_of(StaticEncoder(), few)),
        Way(f"{SAME_TABLE}, {count(everything)}", DOES, router_of(StaticEncoder(), everything)),
    ]
    if IndexedRouter is not None:
        ways.append(Way(f"{static}, awaited", DOES, awaited(router_of(StaticEncoder(), few))))
    return Peer(["semantic-router", "torch", "transformers", minilm.PACKAGE], ways)


def examples(arms: list[str], train: list[dict[str, Any]], size: int) -> dict[str, list[str]]:
    """For each arm at most `size` questions that it was best on."""
    found: dict[str, list[str]] = {arm: [] for arm in arms}
    for row, best in zip(train, best_arms(arms, train), strict=True):
        found[best].append(row["query"])
    return {arm: texts[:size] for arm, texts in found.items()}


def count(texts: dict[str, list[str]]) -> str:
    """How many examples there are, as the table says it."""
    return f"{sum(map(len, texts.values())):,} examples"


def router_of(encoder: DenseEncoder, texts: dict[str, list[str]]) -> Any:
    """A router that always names a route, by the class that this version has."""
    routes = [Route(name=arm, utterances=of_arm) for arm, of_arm in texts.items()]
    if IndexedRouter is not None:
        return IndexedRouter(encoder, routes)
    from semantic_router.routers import SemanticRouter

    encoder.score_threshold = 0.0
    return SemanticRouter(encoder=encoder, routes=routes, auto_sync="local")


def awaited(router: Any) -> Callable[[str], object]:
    """Its own event loop's call: a plain one hands the query to a thread and back, twice."""
    loop = asyncio.new_event_loop()
    return lambda query: loop.run_until_complete(router.acall(query))


if __name__ == "__main__":
    serve(build)
