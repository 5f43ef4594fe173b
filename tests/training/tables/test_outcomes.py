"""Outcome tables: what is read, and how wrong input is refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.worlds import outcome_rows, write_rows
from training.errors import EmptyLogError, InputError, TrainingError
from training.tables.outcomes import read_outcomes


def row(**changes: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "query": "who?",
        "outcomes": {"a": {"quality": 1.0}, "b": {"quality": 0.5, "steps": 2}},
        **changes,
    }


def test_numbers_are_metrics_and_everything_else_is_left_alone(tmp_path: Path) -> None:
    outcome = {"steps": 1, "quality": 1, "answer": "Paris", "sure": True, "note": None, "ids": [1]}
    table = read_outcomes([write_rows(tmp_path / "t.jsonl", [row(outcomes={"a": outcome})])])
    assert table.metrics == ("quality", "steps")
    assert table.values.tolist() == [[[1.0, 1.0]]]


def test_what_a_row_lacks_is_nan(tmp_path: Path) -> None:
    rows = [row(), row(id="2", outcomes={"b": {"quality": 0.25}})]
    table = read_outcomes([write_rows(tmp_path / "t.jsonl", rows)])
    assert table.arms == ("a", "b")
    expected = [[[1.0, np.nan], [0.5, 2.0]], [[np.nan, np.nan], [0.25, np.nan]]]
    np.testing.assert_array_equal(table.values, expected)


def test_compressed_and_plain_files_are_the_same_table(tmp_path: Path) -> None:
    rows = outcome_rows(20, 0)
    plain = read_outcomes([write_rows(tmp_path / "t.jsonl", rows)])
    packed = read_outcomes([write_rows(tmp_path / "t.jsonl.gz", rows)])
    assert packed.sha256 == plain.sha256
    np.testing.assert_array_equal(packed.values, plain.values)


def test_several_files_follow_each_other(tmp_path: Path) -> None:
    one = write_rows(tmp_path / "one.jsonl", outcome_rows(3, 0))
    two = write_rows(tmp_path / "two.jsonl", outcome_rows(2, 0, split="test"))
    assert read_outcomes([one, two]).splits == ["train"] * 3 + ["test"] * 2


def test_a_split_is_chosen_and_an_unknown_one_names_those_there_are(tmp_path: Path) -> None:
    rows = outcome_rows(3, 0) + outcome_rows(2, 0, split="test")
    path = write_rows(tmp_path / "t.jsonl", rows)
    assert len(read_outcomes([path], split="test")) == 2
    with pytest.raises(InputError, match=r"'tset' \(did you mean 'test'\?\).*train \(3 rows\)"):
        read_outcomes([path], split="tset")


def test_a_choice_of_rows_is_a_table_of_them(tmp_path: Path) -> None:
    table = read_outcomes([write_rows(tmp_path / "t.jsonl", outcome_rows(5, 0))])
    chosen = table.rows(np.array([True, False, False, True, False]))
    assert chosen.ids == ["train-0", "train-3"]
    np.testing.assert_array_equal(chosen.values, table.values[[0, 3]])


@pytest.mark.parametrize(
    ("line", "place", "message"),
    [
        ("nonsense", ":2:", "not a JSON object"),
        ("[1]", ":2:", "expected `object`"),
        (json.dumps({"id": "2", "outcomes": {}}), ":2:", "missing required field `query`"),
        (json.dumps(row(id=7)), ":2:id:", "expected `str`"),
        (json.dumps(row(id="1")), ":2:id:", "already the id of line 1"),
        (json.dumps(row(id="2", query=" ")), ":2:query:", "blank"),
        (json.dumps(row(id="2", outcomes={})), ":2:outcomes:", "has no arm"),
        (json.dumps(row(id="2", outcomes={"a": 1})), ":2:outcomes", "expected `object`"),
        (
            json.dumps(row(id="2", outcomes={"b": {"quality": "0.5"}})),
            ":2:outcomes.b.quality:",
            "must be a number, not '0.5'",
        ),
        (
            json.dumps(row(id="2", outcomes={"b": {"quality": True}})),
            ":2:outcomes.b.quality:",
            "must be a number, not True",
        ),
        (
            json.dumps(row(id="2", outcomes={"b": {"steps": "two"}})),
            ":2:outcomes.b.steps:",
            "a number on line 1",
        ),
        (
            json.dumps(row(id="2", outcomes={"b": {"quality": 1.5}})),
            ":2:outcomes.b.quality:",
            "between 0 and 1",
        ),
        ('{"id":"2","query":"q","outcomes":{"a":{"steps":1e999}}}', ":2:", "range"),
    ],
)
def test_wrong_rows_name_the_file_the_line_the_field_and_the_cure(
    tmp_path: Path, line: str, place: str, message: str
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(row()) + "\n" + line + "\n")
    with pytest.raises(InputError) as caught:
        read_outcomes([path])
    assert f"{path}{place}" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", b"\n\n", "no rows"),
        ("half.jsonl.gz", gzip.compress(json.dumps(row()).encode())[:-9], "can't be read"),
        ("not.jsonl.gz", b"plain text", "can't be read"),
    ],
)
def test_files_that_hold_no_table_say_so(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((InputError, EmptyLogError), match=message) as caught:
        read_outcomes([path])
    assert name in str(caught.value)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "no.jsonl", "no such file"), (tmp_path, "is a directory")):
        with pytest.raises(TrainingError, match=message):
            read_outcomes([path])


@pytest.mark.data
def test_recorded_tables_have_the_documented_means(recorded: Path) -> None:
    table = read_outcomes([recorded / "outcomes_llama31_8b.jsonl.gz"], split="test")
    assert (len(table), table.arms) == (3_000, ("none", "single", "multi"))
    np.testing.assert_allclose(table.values[:, :, 0].mean(axis=0), [0.331, 0.387, 0.401], atol=5e-4)
