"""The Parquet log: what is written comes back, once, and a foreign file is refused."""

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.event_factory import NOON, answer, decision, feedback
from training.errors import EmptyLogError, InputError
from training.log.log_files import (
    answers_table,
    decisions_table,
    feedback_table,
    has_decisions,
    read_log,
    write_part,
)

DAY = 86_400.0


def test_every_field_of_an_event_comes_back(tmp_path: Path) -> None:
    write_part(decisions_table([decision(1)]), tmp_path, "decisions", "a")
    write_part(answers_table([answer(1)]), tmp_path, "answers", "a")
    write_part(feedback_table([feedback(1)]), tmp_path, "feedback", "a")
    log = read_log(tmp_path)
    for table, event in (
        (log.decisions, decision(1)),
        (log.answers, answer(1)),
        (log.feedback, feedback(1)),
    ):
        [stored] = table.to_pylist(maps_as_pydicts="strict")
        nested = {
            name: msgspec.to_builtins(getattr(event, name))
            for name in ("evidence", "retrieval")
            if name in stored
        }
        if stored.get("attributes"):
            stored["attributes"] = msgspec.json.decode(stored["attributes"])
        assert stored == msgspec.structs.asdict(event) | nested


def test_what_was_exported_twice_counts_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_part(decisions_table([decision(1)]), tmp_path, "decisions", name)
        write_part(feedback_table([feedback(1)]), tmp_path, "feedback", name)
    log = read_log(tmp_path)
    assert (log.decisions.num_rows, log.feedback.num_rows) == (1, 1)
    assert log.duplicates == {"decisions": 1, "answers": 0, "feedback": 1}
    assert log.superseded == 0


def test_the_latest_value_of_a_metric_counts(tmp_path: Path) -> None:
    write_part(decisions_table([decision(1)]), tmp_path, "decisions", "a")
    values = [
        feedback(1, key="late", at=NOON + 2 * DAY, value=0.25),
        feedback(1, key="early", at=NOON, value=1.0),
    ]
    write_part(feedback_table(values), tmp_path, "feedback", "a")
    log = read_log(tmp_path)
    assert log.feedback["value"].to_pylist() == [0.25]
    assert log.superseded == 1


def test_an_unfinished_file_is_ignored(tmp_path: Path) -> None:
    [file] = write_part(decisions_table([decision(1)]), tmp_path, "decisions", "a")
    file.with_name(".b.parquet.123.tmp").write_bytes(b"half")
    assert read_log(tmp_path).decisions.num_rows == 1


def test_a_log_without_decisions_says_so(tmp_path: Path) -> None:
    assert not has_decisions(tmp_path)
    with pytest.raises(EmptyLogError, match="holds no decision yet"):
        read_log(tmp_path)
    with pytest.raises(InputError, match="no such log directory"):
        read_log(tmp_path / "missing")


def test_a_column_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    [file] = write_part(decisions_table([decision(1)]), tmp_path, "decisions", "a")
    table = pq.ParquetFile(file).read()
    wrong = table.set_column(
        table.column_names.index("propensity"), "propensity", pa.array(["0.75"])
    )
    pq.write_table(wrong, file)
    with pytest.raises(InputError, match=r"propensity: has type string, expected double"):
        read_log(tmp_path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    [file] = write_part(decisions_table([decision(1)]), tmp_path, "decisions", "a")
    pq.write_table(pq.ParquetFile(file).read().drop(["probabilities"]), file)
    with pytest.raises(InputError, match=r"a\.parquet:probabilities: has no such column"):
        read_log(tmp_path)


def test_a_newer_column_may_be_absent_and_another_present(tmp_path: Path) -> None:
    [file] = write_part(decisions_table([decision(1)]), tmp_path, "decisions", "a")
    table = pq.ParquetFile(file).read().drop(["fallback"])
    pq.write_table(table.append_column("of_the_future", pa.array([1])), file)
    assert read_log(tmp_path).decisions["fallback"].to_pylist() == [None]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    [file] = write_part(decisions_table([decision(1)]), tmp_path, "decisions", "a")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"a\.parquet: not a readable Parquet file"):
        read_log(tmp_path)
