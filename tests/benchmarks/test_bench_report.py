"""A report says what was measured, and can't say it wrongly."""

from pathlib import Path

import numpy as np
import pytest


def test_a_report_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    from bench_report import Report, Row, read_report, write_report

    rows = [Row("p50", 58.25, "µs", goal="<= 60"), Row("tail", None, "ms", note="no wrk here")]
    report = Report("decision_path", rows, command="python benchmarks/x.py", versions={"a": "1"})
    write_report(tmp_path / "report.json", report)
    assert read_report(tmp_path / "report.json") == report


def test_a_number_of_numpys_is_written_as_a_number(tmp_path: Path) -> None:
    from bench_report import Report, Row, read_report, write_report

    rows = [Row("p50", np.float64(58.25), "µs"), Row("p99", np.float32(0.5), "ms")]
    write_report(tmp_path / "report.json", Report("b", rows))
    assert [row.value for row in read_report(tmp_path / "report.json").rows] == [58.25, 0.5]


@pytest.mark.parametrize(
    ("value", "goal", "met"),
    [
        (60.0, "<= 60", True),
        (60.1, "<= 60", False),
        (5000.0, ">= 5000", True),
        (4999.0, ">= 5000", False),
        (None, ">= 5000", None),
        (1.0, None, None),
    ],
)
def test_a_goal_is_met_from_its_bound_on(
    value: float | None, goal: str | None, met: bool | None
) -> None:
    from bench_report import Row

    assert Row("x", value, "µs", goal=goal, note="why").met is met


@pytest.mark.parametrize(
    "row",
    [
        {"value": 1.0, "goal": "60"},
        {"value": 1.0, "goal": "< 60"},
        {"value": None},
        {"value": float("nan")},
    ],
)
def test_a_row_that_would_mislead_is_refused(row: dict[str, object]) -> None:
    from bench_report import Row

    with pytest.raises(ValueError, match=r"goal|note|finite"):
        Row("x", unit="µs", **row)


def test_a_command_has_no_machines_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_report import this_command

    argv = [
        "/somewhere/benchmarks/x.py",
        "--outcomes",
        "/data/t.jsonl.gz",
        "--json",
        "/y",
        "-n",
        "3",
    ]
    monkeypatch.setattr("sys.argv", argv)
    assert this_command() == "python benchmarks/x.py --outcomes t.jsonl.gz -n 3"
