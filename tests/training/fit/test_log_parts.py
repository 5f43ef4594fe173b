"""A log in parts teaches what it teaches in one piece."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from policies.linear_policy import LinearPolicy
from tests.training.fit.fitting import passes_over
from tests.training.sending_engine import SendingEngine
from tests.training.test_cli import ran
from tests.training.worlds import (
    features_of,
    outcome_rows,
    rounds_of_tenants,
    success_rates,
    write_rows,
)
from training.engines import Engine
from training.engines.local import LocalEngine
from training.fit import row_sample
from training.fit.folds import group_numbers, row_digests
from training.fit.log_passes import LogPasses
from training.fit.trained_policy import train_on_parts, training_steps
from training.fit.training_rows import training_parts
from training.log.partitions import RoundsInMemory, RoundsParts, log_in_parts, one_part
from training.log.rounds import LoggedRounds, time_order
from training.tables.outcomes import read_outcomes
from training.tables.query_features import query_features
from training.tables.warm_start import WarmStart, warm_start_of

APART = {"first": (0.3, 0.0, 0.0), "last": (-0.1, 0.0, 0.3), "alike": (0.0, 0.0, 0.0)}


class Parts(RoundsParts):
    """Parts of which each query lies in one."""

    def part_of(self, hashes: Sequence[str]) -> np.ndarray:
        digests = row_digests(hashes, ["absent"] * len(hashes))
        return (digests % np.uint64(len(self.parts))).astype(np.intp)


def in_parts(rounds: LoggedRounds, count: int) -> RoundsParts:
    whole = one_part(rounds)
    digests = row_digests(rounds.query_hashes.tolist(), rounds.decision_ids.tolist())
    mine = [np.flatnonzero(digests % np.uint64(count) == part) for part in range(count)]
    parts = tuple(RoundsInMemory(rounds.rows(rows)) for rows in mine)
    return Parts(**{**whole.__dict__, "parts": parts})


def world(seed: int = 0, n: int = 3_000) -> LoggedRounds:
    """Queries that repeat, two metrics that are reported for some rounds, an arm masked in some, an
    incumbent that expects something in some, and tenants that differ.
    """
    rng = np.random.default_rng(seed)
    rounds = rounds_of_tenants(n, rng, APART)
    query = rng.integers(2 * n // 3, size=n)
    hashes = np.array([f"query {number}" for number in query], dtype=object)
    hashes[:20] = ""
    features = rounds.features[query]
    told = rng.random((n, 2)) < [0.8, 0.5]
    values = np.column_stack([rounds.values[:, 0], rng.random(n)])
    eligible = rounds.eligible.copy()
    spare = (rounds.action + 1) % 3
    eligible[np.arange(300), spare[:300]] = False
    expected = np.stack([success_rates(features)] * 2, axis=2)
    expected[: n // 2] = np.nan
    return dataclasses.replace(
        rounds,
        features=features,
        query_hashes=hashes,
        groups=group_numbers(hashes.tolist()),
        metrics=("quality", "cost_usd"),
        values=np.where(told, values, np.nan),
        eligible=eligible,
        expected=expected,
        weights=np.tile([1.0, -0.1], (n, 1)),
    )


def warm_rows(seed: int, n: int = 400) -> WarmStart:
    rng = np.random.default_rng(seed)
    features = features_of(n, rng)
    return WarmStart(
        features=features,
        feature_version="static",
        query_hashes=[f"query {2 * number}" for number in range(n)],
        arms=("none", "single", "multi"),
        metrics=("quality",),
        values=success_rates(features)[:, :, None],
        sha256="",
    )


def train(
    rounds: RoundsParts, warm: WarmStart | None = None, engine: Engine | None = None
) -> LinearPolicy:
    return train_on_parts(
        rounds,
        engine=engine or LocalEngine(),
        holdout=0.2,
        objective=None,
        seed=1,
        source={},
        warm=warm,
    )


def same(one: LinearPolicy, other: LinearPolicy) -> None:
    """But for the salt, which follows from the parts' order, and rounding."""
    first, second = one.artifact(), other.artifact()
    assert first.manifest.name == second.manifest.name
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in first.tensors.items():
        # Directions may change sign, and salted hashes sort tenants.
        if name.startswith(("known_", "tenant_")) or name == "posterior_directions":
            continue
        np.testing.assert_allclose(second.tensors[name], tensor, rtol=1e-5, atol=1e-6)
    tenants = sorted(APART)
    rng = np.random.default_rng(9)
    features = rng.normal(size=(3, first.tensors["coefficients"].shape[2])).astype(np.float32)
    np.testing.assert_allclose(
        one.expected(features, tenants), other.expected(features, tenants), atol=1e-6
    )
    for left, right in zip(
        first.manifest.evaluation["candidates"],
        second.manifest.evaluation["candidates"],
        strict=True,
    ):
        assert left["name"] == right["name"]
        assert left["advantage"] == pytest.approx(right["advantage"], abs=1e-6)
        assert left["standard_error"] == pytest.approx(right["standard_error"], abs=1e-6)


@pytest.mark.parametrize("warm", [False, True])
def test_parts_teach_what_the_whole_log_teaches(warm: bool) -> None:
    rounds = world()
    rows = warm_rows(3) if warm else None
    whole, parts = train(one_part(rounds), rows), train(in_parts(rounds, 4), rows)
    same(whole, parts)
    ours, theirs = (policy.artifact().manifest.training for policy in (whole, parts))
    for name in ("rows", "window", "counts", "reported_draws", "query_filter"):
        assert ours[name] == theirs[name]


def test_parts_without_a_row_to_learn_from_are_passed_over() -> None:
    """One has only rounds of the time that is held out, one none at all."""
    rounds = world()
    late = rounds.at > np.quantile(rounds.at, 0.8)
    hashes = np.where(late, "late", rounds.query_hashes).astype(object)
    rounds = dataclasses.replace(rounds, query_hashes=hashes, groups=group_numbers(hashes.tolist()))
    cut = (np.flatnonzero(late), np.flatnonzero(~late), np.zeros(0, dtype=np.intp))
    parts = tuple(RoundsInMemory(rounds.rows(rows)) for rows in cut)
    whole = one_part(rounds)
    same(train(whole), train(Parts(**{**whole.__dict__, "parts": parts})))


def test_a_log_larger_than_the_sample_teaches_nearly_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Correlations and reporting come from a third of the queries; the rest from all rows."""
    rounds = world(n=6_000)
    whole = train(in_parts(rounds, 3))
    monkeypatch.setattr(row_sample, "SAMPLE_ROWS", 1_600)
    some = train(in_parts(rounds, 3))
    features = features_of(500, np.random.default_rng(5))
    apart = whole.expected(features) - some.expected(features)
    assert np.abs(apart).max() > 0.0
    assert np.sqrt((apart**2).mean()) < 0.02


@pytest.mark.parametrize("engine", [LocalEngine(), SendingEngine()])
def test_a_log_on_disk_teaches_in_parts_what_it_teaches_in_memory(
    engine: Engine, tmp_path: Path
) -> None:
    table, logs = write_rows(tmp_path / "t.jsonl", outcome_rows(900, 0)), tmp_path / "logs"
    ran("replay", "--outcomes", table, "--datasets-as-tenants", "--n", 2_500, "--to", logs)
    rows = read_outcomes([table])
    warm = warm_start_of(rows.rows(np.arange(100)), query_features(rows.queries[:100]))
    with log_in_parts(logs, LocalEngine()) as rounds:
        assert len(rounds.parts) == 1
        whole = train(rounds, warm)
    with log_in_parts(logs, engine, in_memory=100, part_rows=700) as rounds:
        assert len(rounds.parts) > 2
        same(whole, train(rounds, warm, engine))


def test_every_part_and_pass_is_a_step() -> None:
    rounds, done = in_parts(world(), 3), []
    train_on_parts(
        rounds,
        engine=LocalEngine(),
        holdout=0.0,
        objective=None,
        seed=0,
        source={},
        advance=done.append,
    )
    assert sum(done) == training_steps(rounds)


def test_rounds_of_one_time_and_the_datas_hash_are_the_same_in_parts() -> None:
    rounds = world(n=600)
    rounds = dataclasses.replace(rounds, at=np.floor(rounds.at / 60.0))
    rounds = rounds.rows(time_order(rounds.at, rounds.decision_ids))
    samples, hashes = [], []
    for log in (one_part(rounds), in_parts(rounds, 3)):
        parts = training_parts(log, float(rounds.at.max()), 0, None)
        first = LogPasses(LocalEngine(), parts, rounds.arms, rounds.metrics).first(len(rounds))
        assert first is not None
        samples.append(first.sample.rounds.decision_ids.tolist())
        hashes.append(first.hashes)
    assert samples[0] == samples[1] == rounds.decision_ids.tolist()
    assert hashes[0] == hashes[1]
    changed = rounds.values.copy()
    changed[5, 0] = 7.0
    _, other = passes_over(dataclasses.replace(rounds, values=changed))
    assert other.hashes != hashes[0]
