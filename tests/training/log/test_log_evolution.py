"""Logs of other releases: read, appended to, and refused where they can't be understood."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from policies.events import encode_event
from tests.event_factory import NOON, answer, decision, feedback
from training.errors import InputError
from training.log.event_tables import answers_table, decisions_table, feedback_table
from training.log.export import LogExport
from training.log.join import join_rounds
from training.log.log_files import log_parts, read_log

# What the first release's log held; the rest came later, with defaults.
FIRST_DECISIONS = [
    "decision_id",
    "at",
    "arms",
    "eligible",
    "probabilities",
    "arm",
    "propensity",
    "policy",
    "policy_version",
    "objective",
    "weights",
    "expected",
    "explored",
    "explore",
    "tenant",
    "query",
    "query_hash",
    "features",
    "feature_version",
    "rules",
    "fallback",
    "schema",
]
FIRST_ANSWERS = [
    "decision_id",
    "at",
    "executed_arm",
    "metrics",
    "input_tokens",
    "output_tokens",
    "evidence",
    "error",
    "schema",
]
FIRST_FEEDBACK = [
    "feedback_id",
    "decision_id",
    "at",
    "metric",
    "value",
    "source",
    "comment",
    "schema",
]
DAY = "day=2026-11-22"


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


def old_file(table: pa.Table, columns: list[str], folder: Path, name: str) -> Path:
    """A file as earlier releases wrote it: by day alone, default compression."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.select(columns), folder / name, compression="zstd")
    return folder / name


def old_log(client: redis.Redis, directory: Path, numbers: range) -> None:
    """What an earlier release's export has left: its files, its state, its entries in the store."""
    for number in numbers:
        for stream, event in (("decisions", decision(number)), ("decisions", answer(number))):
            client.xadd(f"{{rag}}:{stream}", {"e": encode_event(event)})
        client.xadd("{rag}:feedback", {"e": encode_event(feedback(number))})
    committed, names = {}, {}
    for stream in ("decisions", "feedback"):
        ids = [entry.decode() for entry, _ in client.xrange(f"{{rag}}:{stream}")]
        first, last = ([int(part) for part in name.split("-")] for name in (ids[0], ids[-1]))
        names[stream] = (
            f"export-{first[0]:013d}-{first[1]:06d}_{last[0]:013d}-{last[1]:06d}.parquet"
        )
        committed[stream] = ids[-1]
    client.set("{rag}:log", "0123456789abcdef")
    state = {
        "log": "0123456789abcdef",
        "committed": committed,
        "kept": {},
        "entries": 3 * len(numbers),
        "schema": 1,
    }
    directory.mkdir(parents=True)
    (directory / "export.json").write_text(json.dumps(state))
    made = [decision(number) for number in numbers]
    old_file(
        decisions_table(made), FIRST_DECISIONS, directory / "decisions" / DAY, names["decisions"]
    )
    old_file(
        answers_table([answer(number) for number in numbers]),
        FIRST_ANSWERS,
        directory / "answers" / DAY,
        names["decisions"],
    )
    old_file(
        feedback_table([feedback(number) for number in numbers]),
        FIRST_FEEDBACK,
        directory / "feedback" / DAY,
        names["feedback"],
    )


def test_an_earlier_releases_log_is_read(client: redis.Redis, tmp_path: Path) -> None:
    """With what it didn't have yet as null, which joins as the events' defaults."""
    old_log(client, tmp_path / "logs", range(4))
    log = read_log(tmp_path / "logs")
    assert log.decisions["decision_id"].to_pylist() == [f"decision-{n:06d}" for n in range(4)]
    assert log.decisions["audit"].to_pylist() == [None] * 4
    rounds = join_rounds(log, source=tmp_path / "logs")
    assert not rounds.audited.any()
    assert (rounds.candidates == "").all()
    assert (rounds.candidate_share == 0.0).all()
    assert rounds.attributes.tolist() == [{}] * 4
    assert rounds.values[:, rounds.metrics.index("quality")].tolist() == [1.0] * 4


def test_an_earlier_releases_log_is_gone_on_with(client: redis.Redis, tmp_path: Path) -> None:
    """From its state: nothing twice, new files by tenant, old ones as they were."""
    logs = tmp_path / "logs"
    old_log(client, logs, range(4))
    before = {path: path.read_bytes() for path in logs.glob("**/*.parquet")}
    left = old_file(
        decisions_table([decision(9)]),
        FIRST_DECISIONS,
        logs / "decisions" / DAY,
        "export-9999999999999-000000_9999999999999-000000.parquet",
    )
    unfinished = left.with_name(".export-1-000000_1-000000.parquet.123.tmp")
    unfinished.write_bytes(b"half")
    later = msgspec.structs.replace(decision(4), tenant="acme")
    client.xadd("{rag}:decisions", {"e": encode_event(later)})
    with LogExport(client, logs) as run:
        assert run.resumed
        assert run.pending() == 1
        assert run.run(trim=True).decisions == 1
    assert not left.exists()
    assert not unfinished.exists()
    assert {path: path.read_bytes() for path in before} == before
    [new] = set(logs.glob("**/*.parquet")) - before.keys()
    assert new.parent == logs / "decisions" / DAY / "tenant=acme"
    rounds = join_rounds(read_log(logs), source=logs)
    assert rounds.decision_ids.tolist() == [f"decision-{n:06d}" for n in range(5)]
    assert rounds.tenants.tolist() == [""] * 4 + ["acme"]
    state = json.loads((logs / "export.json").read_text())
    assert (state["entries"], state["log"]) == (13, "0123456789abcdef")


def test_a_later_releases_state_is_refused(client: redis.Redis, tmp_path: Path) -> None:
    """It may count in a way that this one doesn't know."""
    old_log(client, tmp_path / "logs", range(1))
    path = tmp_path / "logs" / "export.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 3}))
    with (
        pytest.raises(InputError, match=r"export\.json: was written by a later release: upgrade"),
        LogExport(client, tmp_path / "logs"),
    ):
        pass


def test_columns_of_a_later_release_are_left_out(tmp_path: Path) -> None:
    """Whatever type they have, and whatever they are called."""
    table = decisions_table([decision(1)])
    for name, column in (
        ("of_the_future", pa.array([{"deep": [1]}])),
        ("weights_2", pa.array([b"\x00"])),
    ):
        table = table.append_column(name, column)
    old_file(table, table.column_names, tmp_path / "decisions" / DAY, "a.parquet")
    log = read_log(tmp_path)
    assert log.decisions.equals(decisions_table([decision(1)]))


def test_files_of_different_releases_make_one_log(tmp_path: Path) -> None:
    """Narrower numbers, fewer columns, more columns, another order."""
    table = decisions_table([decision(1)])
    place = tmp_path / "decisions" / DAY
    narrow = table.set_column(
        table.column_names.index("propensity"),
        "propensity",
        pa.array(np.array([0.75], dtype=np.float32)),
    )
    old_file(narrow, FIRST_DECISIONS, place, "first.parquet")
    second = decisions_table([decision(2)])
    old_file(second, second.column_names[::-1], place / "tenant=a", "second.parquet")
    log = read_log(tmp_path)
    assert log.decisions["decision_id"].to_pylist() == ["decision-000001", "decision-000002"]
    assert log.decisions["propensity"].to_pylist() == [0.75, 0.75]
    assert log.decisions.schema == table.schema


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("at", pa.array(["noon"]), "at: has type string, expected double"),
        ("weights", pa.array(["{}"]), "weights: has type string, expected map<string, double>"),
        ("features", pa.array([[1.0]]), r"features: has type list<.*>, expected binary"),
        ("arms", pa.array([[1]]), r"arms: has type list<.*int64>, expected list<"),
        ("audit", pa.array(["yes"]), "audit: has type string, expected bool"),
    ],
)
def test_a_column_of_another_type_is_named(
    tmp_path: Path, column: str, values: pa.Array, message: str
) -> None:
    """With its file and what to do."""
    table = decisions_table([decision(1)])
    wrong = table.set_column(table.column_names.index(column), column, values)
    old_file(wrong, wrong.column_names, tmp_path / "decisions" / DAY, "a.parquet")
    with pytest.raises(InputError, match=rf"a\.parquet:{message}.*export or replay the log again"):
        read_log(tmp_path)


def test_the_path_says_nothing_about_a_rows_tenant(tmp_path: Path) -> None:
    """Small tenants share a folder, and a file may be moved."""
    place = tmp_path / "decisions" / "day=1999-01-01" / "tenant=wrong"
    table = decisions_table([msgspec.structs.replace(decision(1, at=NOON), tenant="right")])
    old_file(table, table.column_names, place, "a.parquet")
    assert log_parts(tmp_path, "decisions") == ["decisions/day=1999-01-01/tenant=wrong/a.parquet"]
    log = read_log(tmp_path)
    assert (log.decisions["tenant"][0].as_py(), log.decisions["at"][0].as_py()) == ("right", NOON)
