"""A world where a word decides the best arm, and an encoder that can't tell those words apart."""

from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from training.encoders.static_table import StaticTable

TOPICS = [f"topic{number}" for number in range(8)]
FILLERS = [f"filler{number}" for number in range(20)]
NEVER_ASKED = "unheard"
WORDS = ["[UNK]", NEVER_ASKED, *TOPICS, *FILLERS]
ARMS = ("none", "single")
DIMENSION = 12


def blurred_table() -> StaticTable:
    """The topics' vectors are all but the same; the unknown token has none."""
    vectors = np.random.default_rng(0).normal(size=(len(WORDS), DIMENSION)).astype(np.float32)
    vectors[0] = 0.0
    topics = slice(2, 2 + len(TOPICS))
    vectors[topics] = vectors[2] + 0.1 * vectors[topics]
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return StaticTable("blurred", vectors, tokenizer)


def write_blurred(directory: Path) -> Path:
    directory.mkdir()
    blurred_table().write(directory)
    return directory


def rows_of(n: int, seed: int, *, noise: bool = False) -> list[dict[str, Any]]:
    """n questions about a topic; even topics suit one arm and odd ones the other, by .9 to .1.

    With `noise` every outcome is a fair coin.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        topic = int(rng.integers(len(TOPICS)))
        words = [TOPICS[topic], *rng.choice(FILLERS, 2)]
        rates = [0.5, 0.5] if noise else [0.9, 0.1] if topic % 2 == 0 else [0.1, 0.9]
        outcomes = {
            arm: {"quality": float(rng.random() < rate), "steps": float(step)}
            for step, (arm, rate) in enumerate(zip(ARMS, rates, strict=True))
        }
        query = " ".join(str(word) for word in rng.permutation(words))
        rows.append({"id": f"{seed}-{number}", "query": query, "outcomes": outcomes})
    return rows


def values_of(rows: list[dict[str, Any]]) -> np.ndarray:
    """(n, 2, 2) quality and steps."""
    return np.array(
        [[[row["outcomes"][arm][m] for m in ("quality", "steps")] for arm in ARMS] for row in rows]
    )
