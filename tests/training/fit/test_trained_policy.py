"""From data to a policy: its manifest, its window, and what is too little to train on."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from policies.artifact import pack_artifact, unpack_artifact
from policies.loading import load_policy
from tests.training.worlds import outcome_rows, rounds_of, write_rows
from training.engines.local import LocalEngine
from training.errors import EmptyLogError
from training.fit.trained_policy import (
    DEFAULT_HOLDOUT,
    holdout_of,
    train_on_outcomes,
    train_on_parts,
    train_on_rounds,
)
from training.judge.leave_one_out import leave_one_dataset_out, training_rows
from training.log.partitions import one_part
from training.tables.outcomes import read_outcomes
from training.tables.query_features import query_features
from training.tables.warm_start import warm_start_of


def test_the_latest_rounds_are_held_out_and_none_is_on_both_sides() -> None:
    rounds = rounds_of(400, np.random.default_rng(0))
    for holdout, at, rows in (
        (0.3, rounds.at, 280),
        (0.35, np.repeat(np.arange(10.0), 40), 280),
        (0.0, rounds.at, 400),
    ):
        policy = train_on_rounds(
            dataclasses.replace(rounds, at=at),
            holdout=holdout,
            seed=0,
        )
        training = policy.artifact().manifest.training
        assert (training["rows"], training["held_out"]) == (rows, 400 - rows)
        assert training["window"] == [0.0, at[rows - 1]]


def test_what_is_held_out_is_enough_for_the_gate_or_nothing() -> None:
    assert (holdout_of(6_000), holdout_of(7_000)) == (0.0, DEFAULT_HOLDOUT)


def test_the_manifest_says_what_it_was_trained_on() -> None:
    rounds = rounds_of(600, np.random.default_rng(0))
    policy = train_on_parts(
        one_part(rounds),
        engine=LocalEngine(),
        holdout=0.25,
        objective=None,
        seed=3,
        source={"source": "logs"},
        parent="incumbent",
    )
    manifest = policy.artifact().manifest
    assert manifest.training["rows"] == 450
    assert manifest.training["held_out"] == 150
    assert manifest.training["window"] == [0.0, 449.0]
    assert manifest.estimator["seed"] == 3
    assert manifest.parent == "incumbent"
    assert {row["name"] for row in manifest.evaluation["fixed_arms"]} == set(rounds.arms)
    [chosen] = [c for c in manifest.evaluation["candidates"] if c["name"] == manifest.name]
    assert chosen["standard_error"] > 0.0


def test_a_trained_policy_survives_storage() -> None:
    rounds = rounds_of(300, np.random.default_rng(0))
    policy = train_on_rounds(rounds, holdout=0.3, seed=0)
    stored = load_policy(unpack_artifact(pack_artifact(policy.artifact()), source="test"))
    assert stored.version == policy.version
    np.testing.assert_array_equal(
        stored.expected(rounds.features), policy.expected(rounds.features)
    )


def test_too_little_feedback_is_no_training_data() -> None:
    rounds = rounds_of(600, np.random.default_rng(0))
    values = rounds.values.copy()
    values[40:] = np.nan
    with pytest.raises(EmptyLogError, match="40 of 600 logged decisions can be learned from"):
        train_on_rounds(
            dataclasses.replace(rounds, values=values),
            holdout=0.3,
            seed=0,
        )


def test_a_few_queries_over_and_over_are_no_training_data() -> None:
    rounds = rounds_of(600, np.random.default_rng(0))
    hashes = np.array([f"query {row % 3}" for row in range(600)], dtype=object)
    repeated = dataclasses.replace(rounds, groups=np.arange(600) % 3, query_hashes=hashes)
    with pytest.raises(EmptyLogError, match="420 decisions to train on are about 3 distinct"):
        train_on_rounds(repeated, holdout=0.3, seed=0)


def test_outcomes_teach_which_query_goes_where(tmp_path: Path) -> None:
    """Each kind of question has an arm that is right 8 times in 10; the others 3 times."""
    path = write_rows(
        tmp_path / "t.jsonl", outcome_rows(900, 0) + outcome_rows(600, 1, split="test")
    )
    table = read_outcomes([path], split="train")
    warm = warm_start_of(table, query_features(table.queries))
    policy = train_on_outcomes(warm, seed=0, source={"source": "outcomes"})
    test = read_outcomes([path], split="test")
    expected = policy.expected(query_features(test.queries).matrix)[:, :, 0]
    earned = test.values[np.arange(600), expected.argmax(axis=1), 0]
    assert earned.mean() > 0.75
    again = train_on_outcomes(warm, seed=0, source={"source": "outcomes"})
    for name, tensor in policy.artifact().tensors.items():
        np.testing.assert_array_equal(again.artifact().tensors[name], tensor)
    small = table.rows(np.arange(10))
    few = warm_start_of(small, query_features(small.queries))
    with pytest.raises(EmptyLogError, match="too few"):
        train_on_outcomes(few, seed=0, source={})


def test_leaving_a_dataset_out_refits_on_the_policys_own_training_rows(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "t.jsonl", outcome_rows(600, 0) + outcome_rows(300, 1, split="test")
    )
    train, test = read_outcomes([path], split="train"), read_outcomes([path], split="test")
    source = {"source": "outcomes", "outcomes": [str(path)], "split": "train"}
    warm = warm_start_of(train, query_features(train.queries))
    policy = train_on_outcomes(warm, seed=0, source=source)
    features = query_features(test.queries)
    rows = training_rows(policy.artifact().manifest, test, features, "static")
    assert rows.described == "the policy's training rows, split train"
    left = leave_one_dataset_out(policy, test, features, rows, [{"quality": 1.0}])
    assert [entry.dataset for entry in left] == ["chain", "fact", "style"]
    for entry in left:
        # Without its kind of question in training, an arm that serves it is no longer found.
        assert entry.value["quality"] < entry.pooled["quality"] - 0.1
        assert entry.best_fixed["quality"] > 0.7


def test_training_rows_that_changed_are_not_used_again(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "t.jsonl", outcome_rows(120, 0))
    table = read_outcomes([path])
    features = query_features(table.queries)
    source = {"source": "outcomes", "outcomes": [str(path)], "split": None}
    policy = train_on_outcomes(warm_start_of(table, features), seed=0, source=source)
    write_rows(path, outcome_rows(120, 5))
    rows = training_rows(policy.artifact().manifest, table, features, "static")
    assert rows.described == "the evaluated rows of the other datasets"
