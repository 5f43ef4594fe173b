"""Whether a fine-tuned encoder is kept: fine-tuned and judged fold by fold.

Needs `pip install "adaptive-rag-router[encoders]"`.
"""

import numpy as np
import pytest

from policies.features import Featurizer
from policies.query import query_hash
from tests.training.encoders.blurred_world import ARMS, blurred_table, rows_of, values_of
from training.fit.encoder_choice import EncoderChoice, choice_steps, choose_encoder
from training.fit.trained_policy import outcome_folds
from training.tables.warm_start import WarmStart

pytestmark = [pytest.mark.encoders, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def libraries() -> None:
    pytest.importorskip("sentence_transformers", reason="needs the encoders extra")


def chosen(n: int, seed: int, *, noise: bool) -> tuple[EncoderChoice, WarmStart]:
    rows = rows_of(n, seed, noise=noise)
    queries = [row["query"] for row in rows]
    start = blurred_table()
    featurizer = Featurizer(start.encoder())
    warm = WarmStart(
        features=featurizer.features(queries),
        feature_version=featurizer.version,
        query_hashes=[query_hash(query) for query in queries],
        arms=ARMS,
        metrics=("quality", "steps"),
        values=values_of(rows),
        sha256="",
    )
    steps: list[int] = []
    folds = outcome_folds(warm, seed)
    choice = choose_encoder(warm, queries, start, folds, seed=seed, advance=steps.append)
    assert sum(steps) == choice_steps(folds)
    return choice, warm


def test_it_is_kept_where_words_decide_that_the_encoder_blurs() -> None:
    """Of the qualities' variance .36 is noise that nobody can tell."""
    choice, warm = chosen(300, 1, noise=False)
    found = choice.comparison
    assert found.kept
    assert found.unchanged > 0.9
    assert found.fine_tuned < 0.7
    assert found.gain == pytest.approx(found.unchanged - found.fine_tuned)
    assert found.gain > 5 * found.standard_error
    assert list(found.by_metric) == ["quality"]  # steps never vary within an arm
    assert choice.table is not None
    expected = choice.fitted.model.expected(choice.features)[:, :, 0]
    right = expected.argmax(axis=1) == warm.values[:, :, 0].argmax(axis=1)
    assert right.mean() > 0.8


@pytest.mark.parametrize("seed", [1, 2])
def test_it_is_not_kept_where_outcomes_are_noise(seed: int) -> None:
    """Null: no encoder tells anything. A gain beyond one standard error would come about in one
    world of six if the two predictions were free to differ; the seeds are fixed.
    """
    choice, warm = chosen(200, seed, noise=True)
    assert not choice.comparison.kept
    assert choice.table is None
    np.testing.assert_array_equal(choice.features, warm.features)
