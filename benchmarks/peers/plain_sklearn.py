"""What one would write in an afternoon: sentence-transformers, and a logistic regression an arm."""

from typing import Any

import minilm
import numpy as np
from protocol import Peer, Way, serve
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression


def build(arms: list[str], train: list[dict[str, Any]]) -> Peer:
    """Every arm's chance of a good answer (quality of a half or more), from the embedding."""
    encoder = SentenceTransformer(minilm.PATH, device="cpu")

    def encode(queries: list[str]) -> np.ndarray:
        return encoder.encode(queries, normalize_embeddings=True, show_progress_bar=False)

    embeddings = encode([row["query"] for row in train])
    models = [
        LogisticRegression(max_iter=1000).fit(
            embeddings, [row["quality"][arm] >= 0.5 for row in train]
        )
        for arm in arms
    ]

    def decide(queries: list[str]) -> list[str]:
        rows = encode(queries)
        chances = np.column_stack([model.predict_proba(rows)[:, 1] for model in models])
        return [arms[best] for best in chances.argmax(axis=1)]

    way = Way(
        "encode, predict_proba, argmax",
        "one metric, no objective, no exploration, no record",
        lambda query: decide([query]),
        call_batch=decide,
    )
    return Peer(["sentence-transformers", "scikit-learn", "torch", minilm.PACKAGE], [way])


if __name__ == "__main__":
    serve(build)
