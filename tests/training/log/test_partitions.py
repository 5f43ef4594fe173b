"""A log in parts is the log in one piece."""

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.events import AnswerFinished, DecisionMade, FeedbackGiven
from policies.features import pack_features
from tests.event_factory import NOON, answer, decision, feedback
from tests.training.sending_engine import SendingEngine
from training.engines.local import LocalEngine
from training.errors import EmptyLogError, InputError
from training.log.join import join_rounds
from training.log.log_files import (
    answers_table,
    decisions_table,
    feedback_table,
    read_log,
    write_part,
)
from training.log.partitions import RoundsParts, log_in_parts
from training.log.rounds import LoggedRounds
from training.log.shuffle import StoredPart

DAY = 86_400.0


def concatenated(parts: RoundsParts) -> LoggedRounds:
    """All parts' rounds in order of time, groups numbered by first appearance."""
    rounds = [part.read() for part in parts.parts]
    arrays = {
        field.name: np.concatenate([getattr(one, field.name) for one in rounds])
        for field in fields(rounds[0])
        if isinstance(getattr(rounds[0], field.name), np.ndarray)
    }
    numbers = np.cumsum([0, *(one.groups.max() + 1 for one in rounds)])
    arrays["groups"] = np.concatenate(
        [one.groups + first for one, first in zip(rounds, numbers, strict=False)]
    )
    order = np.lexsort((arrays["decision_ids"].astype(str), arrays["at"]))
    merged = replace(rounds[0], **{name: array[order] for name, array in arrays.items()})
    _, first, inverse = np.unique(merged.groups, return_index=True, return_inverse=True)
    return replace(merged, groups=np.argsort(np.argsort(first))[inverse])


def assert_same(found: LoggedRounds, expected: LoggedRounds) -> None:
    for field in fields(expected):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype, field.name
            np.testing.assert_array_equal(one, other, err_msg=field.name)
        else:
            assert one == other, field.name


def random_log(directory: Path, seed: int) -> None:
    """Decisions of two feature versions for several tenants and repeated queries; arms that come
    and go; answers with fallbacks; feedback that is late, repeated, superseded, absurd or of no
    decision; rows written twice; a column of a later release, and one of an earlier that lacks.
    """
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(3, 120))
    decisions = [_decision(rng, n) for n in range(rows)]
    answers = [
        msgspec.structs.replace(
            answer(n, at=float(decisions[n].at + 1)),
            executed_arm=str(rng.choice(["finetuned", decisions[n].arm])),
            metrics={
                "cost_usd": float(rng.random()),
                **({"rare": 1.0} if rng.random() < 0.02 else {}),
            },
        )
        for n in range(rows)
        if rng.random() < 0.8
    ]
    told = [_feedback(rng, number, rows) for number in range(int(rng.integers(0, 2 * rows)))]
    tables = {
        "decisions": decisions_table(_some_twice(rng, decisions)),
        "answers": answers_table(_some_twice(rng, answers)),
        "feedback": feedback_table(_some_twice(rng, told)),
    }
    for kind, table in tables.items():
        for number, start in enumerate(range(0, table.num_rows, 40)):
            write_part(table.slice(start, 40), directory, kind, f"part-{number}")  # type: ignore[arg-type]
    path = sorted((directory / "decisions").rglob("*.parquet"))[0]
    later = pq.ParquetFile(path).read()
    later = later.append_column("of_a_later_release", pa.array(["x"] * later.num_rows))
    pq.write_table(later.drop_columns(["audit"]), path)


def _decision(rng: np.random.Generator, n: int) -> DecisionMade:
    arms = ["finetuned", "retrieve", "hybrid"][: int(rng.integers(2, 4))]
    arms = [str(arm) for arm in rng.permutation(arms)]
    made = decision(n, at=NOON + float(rng.integers(0, 40)) * DAY / 8)
    probabilities = (
        rng.dirichlet(np.ones(len(arms))) if rng.random() < 0.9 else np.eye(len(arms))[0]
    )
    drawn = int(probabilities.argmax())
    return msgspec.structs.replace(
        made,
        arms=arms,
        eligible=arms,
        probabilities=probabilities.tolist(),
        arm=arms[drawn],
        propensity=float(probabilities[drawn]),
        weights={"quality": 1.0, "unknown": 2.0} if rng.random() < 0.5 else {"cost_usd": -1.0},
        expected={"quality": rng.random(len(arms)).tolist()} if rng.random() < 0.7 else {},
        tenant=str(rng.choice(["", "acme", "globex"])),
        query_hash=str(rng.choice(["", "a", "b", "c", f"own-{n}"])),
        features=pack_features(rng.standard_normal(8).astype(np.float32)),
        feature_version="v2" if rng.random() < 0.9 else "v1",
        policy_version=str(rng.choice(["one", "two"])),
        attributes={"n": int(rng.integers(3))} if rng.random() < 0.5 else {},
        candidate_probabilities=rng.dirichlet(np.ones(len(arms))).tolist()
        if rng.random() < 0.2
        else [],
    )


def _feedback(rng: np.random.Generator, number: int, rows: int) -> FeedbackGiven:
    about = int(rng.integers(0, rows + 3))
    return msgspec.structs.replace(
        feedback(about, at=NOON + float(rng.integers(0, 60)) * DAY / 8),
        feedback_id=f"{number}-of-{about}",
        metric=str(rng.choice(["quality", "currency", "seldom"], p=[0.7, 0.28, 0.02])),
        value=1e12 if rng.random() < 0.03 else float(rng.integers(0, 2)),
    )


def _some_twice(rng: np.random.Generator, events: list[Any]) -> list[Any]:
    again = [event for event in events if rng.random() < 0.1]
    mixed = [*events, *again]
    return [mixed[row] for row in rng.permutation(len(mixed))]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), buckets=st.integers(2, 9))
def test_the_parts_together_are_the_log_in_one_piece(
    tmp_path_factory: pytest.TempPathFactory, seed: int, buckets: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    random_log(directory, seed)
    wanted: list[dict[str, Any]] = [
        {},
        {"arms": ("hybrid", "new")},
        {"since": NOON + 2 * DAY},
        {"feature_version": "v2"},
    ]
    for asked in wanted:
        try:
            whole = join_rounds(read_log(directory), source=directory, **asked)
        except EmptyLogError:
            continue
        if not len(whole):
            continue
        size = max(1, len(whole) // buckets)
        with log_in_parts(
            directory, SendingEngine(), in_memory=0, part_rows=size, **asked
        ) as parts:
            assert_same(concatenated(parts), whole)
            np.testing.assert_array_equal(parts.explored_at, whole.at[whole.explored])
            np.testing.assert_array_equal(parts.observed, whole.observed)
            assert parts.policy_version == whole.policy_versions[-1]
            assert parts.tenants == tuple(sorted(set(whole.tenants.tolist())))
            assert parts.rows == len(whole)
            assert parts.dimension == whole.features.shape[1]


def log_of(directory: Path, rows: int = 300) -> Path:
    decisions: list[DecisionMade] = []
    answers: list[AnswerFinished] = []
    told: list[FeedbackGiven] = []
    for n in range(rows):
        at = NOON + 60.0 * n
        decisions.append(msgspec.structs.replace(decision(n, at=at), query_hash=f"query-{n % 90}"))
        answers.append(answer(n, at=at + 1.0))
        told.append(feedback(n, at=at + 2.0))
    write_part(decisions_table(decisions), directory, "decisions", "a")
    write_part(answers_table(answers), directory, "answers", "a")
    write_part(feedback_table(told), directory, "feedback", "a")
    return directory


def test_every_query_lies_in_one_part(tmp_path: Path) -> None:
    log_of(tmp_path)
    with log_in_parts(tmp_path, LocalEngine(), in_memory=0, part_rows=50) as parts:
        seen = [set(part.read().query_hashes.tolist()) for part in parts.parts]
    assert len(seen) > 2
    assert sum(map(len, seen)) == len(set().union(*seen)) == 90


def test_a_small_log_is_one_part_in_memory(tmp_path: Path) -> None:
    log_of(tmp_path)
    with log_in_parts(tmp_path, LocalEngine(), in_memory=300) as parts:
        (part,) = parts.parts
        assert_same(part.read(), join_rounds(read_log(tmp_path), source=tmp_path))
        assert parts.rows == part.rows == 300


@pytest.mark.parametrize("fails", [False, True])
def test_scratch_files_are_gone_afterwards(tmp_path: Path, fails: bool) -> None:
    log, scratch = log_of(tmp_path / "log"), tmp_path / "scratch"
    scratch.mkdir()

    def use() -> None:
        with log_in_parts(log, LocalEngine(), scratch=scratch, in_memory=0, part_rows=50):
            assert list(scratch.rglob("*.arrow"))
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            use()
    else:
        use()
    assert list(scratch.iterdir()) == []


def test_a_scratch_directory_that_isnt_there_is_refused(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log")
    with (
        pytest.raises(InputError, match="no such directory"),
        log_in_parts(log, LocalEngine(), scratch=tmp_path / "none", in_memory=0),
    ):
        pass


def test_features_whose_length_differs_between_buckets_are_refused(tmp_path: Path) -> None:
    short = msgspec.structs.replace(decision(2, at=NOON + 1), features=b"\0\0")
    write_part(decisions_table([decision(1), short]), tmp_path, "decisions", "a")
    write_part(feedback_table([feedback(1), feedback(2)]), tmp_path, "feedback", "a")
    with (
        pytest.raises(InputError, match="different lengths"),
        log_in_parts(tmp_path, LocalEngine(), in_memory=0, part_rows=1),
    ):
        pass


def test_the_time_until_which_a_share_was_made_takes_rounds_of_equal_time_along(
    tmp_path: Path,
) -> None:
    log_of(tmp_path)
    with log_in_parts(tmp_path, LocalEngine()) as parts:
        explored = parts.explored_at
        assert parts.until(1.0) == explored[-1]
        assert parts.until(0.5) == explored[int(np.ceil(len(explored) * 0.5)) - 1]


@pytest.mark.parametrize("in_memory", [0, 1_000])
def test_a_decision_at_no_time_is_an_error_of_the_log(tmp_path: Path, in_memory: int) -> None:
    decisions = [decision(number) for number in range(30)]
    decisions[7] = msgspec.structs.replace(decisions[7], at=math.nan)
    write_part(decisions_table(decisions), tmp_path, "decisions", "a")
    write_part(
        feedback_table([feedback(number) for number in range(30)]), tmp_path, "feedback", "a"
    )
    opened = log_in_parts(tmp_path, LocalEngine(), in_memory=in_memory, part_rows=10)
    with pytest.raises(InputError, match="no time that can be"), opened:
        pass


def test_parts_for_another_engine_are_references_to_files(tmp_path: Path) -> None:
    write_part(decisions_table([decision(n) for n in range(30)]), tmp_path, "decisions", "a")
    write_part(feedback_table([feedback(n) for n in range(30)]), tmp_path, "feedback", "a")
    with log_in_parts(tmp_path, SendingEngine()) as parts:
        assert all(isinstance(part, StoredPart) for part in parts.parts)
        assert sum(len(part.read()) for part in parts.parts) == 30
