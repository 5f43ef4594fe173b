"""Fine-tuning a static encoder's token vectors on arms' outcomes.

Needs `pip install "adaptive-rag-router[encoders]"`.
"""

from functools import cache

import numpy as np
import pytest

from tests.training.encoders.blurred_world import (
    NEVER_ASKED,
    TOPICS,
    WORDS,
    blurred_table,
    rows_of,
    values_of,
)
from training.encoders.fine_tune import FineTuned, fine_tune

pytestmark = [pytest.mark.encoders, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def libraries() -> None:
    pytest.importorskip("sentence_transformers", reason="needs the encoders extra")


@cache
def tuned(n: int = 300, seed: int = 0, *, hidden: float = 0.0) -> FineTuned:
    """On n rows, a share of whose outcomes is hidden."""
    rows = rows_of(n, 1)
    values = values_of(rows)
    values[np.random.default_rng(2).random(values.shape) < hidden] = np.nan
    queries = [row["query"] for row in rows]
    return fine_tune(blurred_table(), queries, values, np.arange(n), seed=seed)


def test_words_that_decide_are_told_apart() -> None:
    """Of the outcomes' variance .36 is noise; the blurred vectors explain nothing of the rest."""
    result = tuned()
    assert result.passes > 0
    assert result.before > 0.95
    assert result.after < 0.7
    rows = result.table.encoder().encode(TOPICS)
    same = np.equal.outer(np.arange(len(TOPICS)) % 2, np.arange(len(TOPICS)) % 2)
    assert (rows @ rows.T)[same].mean() > (rows @ rows.T)[~same].mean() + 0.05


def test_hidden_outcomes_are_left_out() -> None:
    result = tuned(hidden=0.3)
    assert np.isfinite(result.table.vectors).all()
    assert result.after < 0.75


def test_the_same_seed_gives_the_same_table_and_another_seed_another() -> None:
    one, again, other = (tuned.__wrapped__(200, seed).table.vectors for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_words_that_no_query_has_stay_where_they_were() -> None:
    start, result = blurred_table(), tuned()
    unheard = WORDS.index(NEVER_ASKED)
    np.testing.assert_array_equal(result.table.vectors[unheard], start.vectors[unheard])


def test_the_unknown_token_stays_silent() -> None:
    rows = rows_of(200, 1)
    queries = [f"{row['query']} nobody knows this" for row in rows]
    result = fine_tune(blurred_table(), queries, values_of(rows), np.arange(200), seed=0)
    assert result.passes > 0
    assert not result.table.vectors[0].any()


def test_pure_noise_hardly_moves_the_table() -> None:
    """Where nothing can be learned, early stopping keeps the start or what is near it."""
    rows = rows_of(300, 5, noise=True)
    queries = [row["query"] for row in rows]
    result = fine_tune(blurred_table(), queries, values_of(rows), np.arange(300), seed=0)
    before, after = (table.encoder().encode(TOPICS) for table in (blurred_table(), result.table))
    assert (before * after).sum(axis=1).min() > 0.95
    assert result.before - result.after < 0.02


def test_torch_is_left_as_it_was() -> None:
    import torch

    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    tuned(101)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
