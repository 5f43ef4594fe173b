"""One benchmark's trouble is a line in the page, never the end of the run."""

from pathlib import Path

import pytest

REPORTS = """
import json, sys
row = {"what": "rate", "value": 2000.0, "unit": "events/s", "goal": ">= 40000"}
report = {"benchmark": "b", "command": "python benchmarks/b.py", "rows": [row], "versions": {}}
open(sys.argv[sys.argv.index("--json") + 1], "w").write(json.dumps(report))
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import bench

    (tmp_path / "benchmarks").mkdir()
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    return tmp_path


def page(root: Path, name: str, script: str | None, needs: tuple[str, ...] = ()) -> str:
    from bench import Benchmark, result_lines, run_one

    if script is not None:
        (root / "benchmarks" / f"{name}.py").write_text(script)
    return "\n".join(result_lines(run_one(Benchmark(name, needs=needs))))


def test_figures_stand_beside_their_goals(root: Path) -> None:
    assert "| rate | 2,000 events/s | >= 40000 events/s | **no** |" in page(root, "b", REPORTS)


@pytest.mark.parametrize(
    ("script", "needs", "reason"),
    [
        (None, (), "there is no benchmarks/b.py"),
        (REPORTS, ("no-such-tool-anywhere",), "not installed here: no-such-tool-anywhere"),
        ("import sys; sys.exit('the store is down')", (), "the store is down"),
        ("pass", (), "it wrote no report"),
        ("open(__import__('sys').argv[-1], 'w').write('{}')", (), "its report can't be read"),
    ],
)
def test_what_did_not_run_is_named_with_its_reason(
    root: Path, script: str | None, needs: tuple[str, ...], reason: str
) -> None:
    assert f"Not run: {reason}" in page(root, "b", script, needs)


def test_times_and_rates_are_given_in_yardsticks() -> None:
    from bench import in_yardsticks
    from bench_report import Row

    assert in_yardsticks(Row("x", 3.0, "ms"), 1500.0) == pytest.approx(2.0)
    assert in_yardsticks(Row("x", 4000.0, "events/s"), 500.0) == pytest.approx(2.0)
    assert in_yardsticks(Row("x", 4.0, "×"), 500.0) is None


def test_each_benchmark_reports_in_the_common_form() -> None:
    from bench import BENCHMARKS

    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    scripts = {b.name: (folder / f"{b.name}.py").read_text(encoding="utf-8") for b in BENCHMARKS}
    reports = {name for name, text in scripts.items() if f'Report("{name}", ' in text}
    assert reports == set(scripts)


def test_a_line_of_training_at_scale_has_its_goals() -> None:
    from training_at_scale import rows_of

    figures = ("s", "CPU s", "MB")
    line = {f"{command} {figure}": 5.0 for command in ("train", "evaluate") for figure in figures}
    rows = rows_of({"rows": 1_000_000, **line}, "local")
    assert [row.goal for row in rows if row.goal] == ["<= 120", "<= 4000", "<= 10", "<= 4000"]
    assert not any(row.goal for row in rows_of({"rows": 10, **line}, "local"))
