"""What a policy knows: p-values that keep their rate, foreign queries found, damage refused."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from policies.artifact import pack_artifact, unpack_artifact
from policies.encoders import Encoder
from policies.errors import ArtifactError
from policies.features import Featurizer
from policies.loading import load_policy
from policies.novelty import KnownQueries
from policies.question import QUESTION_FEATURES
from policies.rule_policy import RulePolicy
from tests.training.worlds import always, features_of, outcome_rows
from training.fit.known_queries import MIN_ROWS, fit_known_queries, with_known_queries

Rows = NDArray[np.float32]


def known_of(features: Rows, seed: int = 0) -> KnownQueries:
    return KnownQueries(fit_known_queries(features, seed))


@pytest.fixture
def tensors() -> dict[str, NDArray[Any]]:
    return fit_known_queries(features_of(400, np.random.default_rng(0)), 0)


def test_queries_like_the_training_ones_are_flagged_as_rarely_as_stated() -> None:
    """Null: queries from the training distribution, flagged at p ≤ 0.05. The rate is an average
    over calibration samples, here 40 of 200 rows, each met by 500 queries: its standard error is
    below 0.003, so 0.06 would be seen less than once in 1,000 runs.
    """
    rng = np.random.default_rng(1)
    shares = [
        float(
            (known_of(features_of(400, rng), seed).p_values(features_of(500, rng)) <= 0.05).mean()
        )
        for seed in range(40)
    ]
    assert np.mean(shares) <= 0.06
    assert np.mean(shares) >= 0.03  # and the test isn't empty


def test_foreign_texts_are_flagged(encoder: Encoder) -> None:
    featurizer = Featurizer(encoder)
    known = known_of(featurizer.features([row["query"] for row in outcome_rows(800, 0)]))
    own = featurizer.features([row["query"] for row in outcome_rows(300, 5)])
    foreign = [
        "SELECT name FROM users WHERE id = 3;",
        "Quelle est la capitale de la France ?",
        "日本の首都はどこですか",
        "xq9 zz#1 k2k2 %% 77ab qpq 0x11",
        "pasted text, long and without a question. " * 40,
    ]
    assert (known.p_values(featurizer.features(foreign)) <= 0.01).all()
    assert (known.p_values(own) <= 0.01).mean() <= 0.03


def test_a_feature_that_training_never_saw_is_far_away() -> None:
    features = features_of(400, np.random.default_rng(2))
    strange = features[:1].copy()
    strange[0, -10] = 1.0
    known = known_of(features)
    assert known.p_values(strange)[0] == pytest.approx(1 / 201)
    assert known.p_values(features[:1])[0] > 1 / 201


def test_p_values_never_reach_zero_and_a_row_alone_and_in_company_has_the_same() -> None:
    rng = np.random.default_rng(3)
    known, queries = known_of(features_of(400, rng)), features_of(100, rng)
    together = known.p_values(queries)
    assert (together >= 1 / 201).all()
    assert (together <= 1.0).all()
    alone = np.concatenate([known.p_values(row[None]) for row in queries])
    np.testing.assert_allclose(alone, together, atol=1.5 / 201)


def test_any_kind_of_policy_carries_it_through_its_artifact() -> None:
    features = features_of(200, np.random.default_rng(4))
    plain = always(0)
    assert KnownQueries.of(plain.artifact()) is None
    policy = with_known_queries(plain, features, 0)
    assert policy.version != plain.version
    again = load_policy(unpack_artifact(pack_artifact(policy.artifact()), source="test"))
    known = KnownQueries.of(again.artifact())
    assert known is not None
    np.testing.assert_array_equal(known.p_values(features), known_of(features).p_values(features))
    np.testing.assert_array_equal(again.expected(features), plain.expected(features))


def test_a_policy_of_few_rows_claims_to_know_nothing() -> None:
    features = features_of(MIN_ROWS - 1, np.random.default_rng(5))
    policy = always(0)
    assert with_known_queries(policy, features, 0) is policy


def test_the_built_in_rules_know_nothing() -> None:
    from policies.arms import DEFAULT_ARMS

    assert KnownQueries.of(RulePolicy(DEFAULT_ARMS).artifact()) is None


@pytest.mark.parametrize("name", ["known_scale", "known_counts", "known_edges"])
def test_tensors_that_are_missing_or_dont_fit_are_refused(
    tensors: dict[str, NDArray[Any]], name: str
) -> None:
    with pytest.raises(ArtifactError, match="don't fit each other"):
        KnownQueries({**tensors, name: tensors[name][:-1]})
    del tensors[name]
    with pytest.raises(ArtifactError, match="lacks tensor"):
        KnownQueries(tensors)


def test_a_negative_count_is_refused(tensors: dict[str, NDArray[Any]]) -> None:
    counts = tensors["known_counts"].copy()
    counts[0, 0] = -1
    with pytest.raises(ArtifactError, match="don't fit each other"):
        KnownQueries({**tensors, "known_counts": counts})


@pytest.mark.parametrize("alpha", [0.001, 0.005, 0.05, 0.5])
def test_foreign_rows_are_exactly_those_of_small_p_values(alpha: float) -> None:
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.1, 4.0, size=(400, 1))
    rows = (spread * rng.normal(size=(400, 40))).astype(np.float32)
    known = KnownQueries(
        {
            "known_shift": np.zeros(40, np.float32),
            "known_scale": np.ones(40, np.float32),
            "known_prototypes": np.zeros((1, 40), np.float32),
            "known_distances": np.sort(np.rint(1e4 * (rows[:300] ** 2).sum(axis=1))),
            "known_directions": np.zeros((0, 40), np.float32),
            "known_edges": np.zeros((1 + len(QUESTION_FEATURES), 1)),
            "known_counts": np.ones((1 + len(QUESTION_FEATURES), 3), np.int64),
        }
    )
    p_values = known.p_values(rows)
    wanted = [(row, p) for row, p in enumerate(p_values.tolist()) if p <= alpha]
    assert known.foreign(rows, alpha) == wanted
    alone = [(row, *known.foreign(rows[[row]], alpha)) for row in range(100)]
    assert [row for row, *found in alone if found] == [row for row, _ in wanted if row < 100]
