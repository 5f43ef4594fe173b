"""The folder of kept reports: which go, and which never do."""

import json
from pathlib import Path

import pytest

from training.report_folders import VERDICT_FILE, ReportFolders


def earlier(root: Path, day: int, outcome: str) -> Path:
    """A report that is there already."""
    report = root / f"202611{day:02d}T120000.000Z"
    report.mkdir()
    (report / VERDICT_FILE).write_text(json.dumps({"outcome": outcome}))
    return report


def run(root: Path, *, keep: int, outcome: str = "refused") -> Path:
    """The report of one more run."""
    with ReportFolders(root, keep=keep).one_run() as report:
        (report.path / VERDICT_FILE).write_text(json.dumps({"outcome": outcome}))
        report.finish()
    return report.place


def test_only_reports_of_runs_that_changed_nothing_go(tmp_path: Path) -> None:
    """The oldest first; what may be of the policy that serves stays, and so does a damaged one."""
    outcomes = ["promoted", "refused", "failed", "promoting", "refused", "refused"]
    reports = [earlier(tmp_path, day, outcome) for day, outcome in enumerate(outcomes, start=1)]
    damaged = tmp_path / "20261007T120000.000Z"
    damaged.mkdir()
    (damaged / VERDICT_FILE).write_text("{")
    latest = run(tmp_path, keep=2)
    assert ReportFolders(tmp_path).whole() == [
        damaged, reports[0], reports[3], reports[5], latest
    ]  # fmt: skip
    promoted = run(tmp_path, keep=2, outcome="promoted")
    assert ReportFolders(tmp_path).whole()[-3:] == [reports[5], latest, promoted]


def test_the_report_just_finished_stays_though_a_clock_was_ahead(tmp_path: Path) -> None:
    ahead = tmp_path / "29991231T000000.000Z"
    ahead.mkdir()
    (ahead / VERDICT_FILE).write_text(json.dumps({"outcome": "refused"}))
    latest = run(tmp_path, keep=1)
    assert ReportFolders(tmp_path).whole() == [latest]


def test_what_only_has_a_reports_name_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plain file, a link, a file where an unfinished folder would be: no run fails by them."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root = tmp_path / "reports"
    root.mkdir()
    (root / "20261101T120000.000Z").write_text("")
    (root / "20261102T120000.000Z").symlink_to(elsewhere)
    (root / ".x.unfinished").write_text("")
    latest = run(root, keep=1)
    assert ReportFolders(root).whole() == [latest]
    assert elsewhere.is_dir()
    assert ".x.unfinished couldn't be removed" in capsys.readouterr().err


def test_what_was_forgotten_halfway_is_removed_by_the_next_run(tmp_path: Path) -> None:
    left = tmp_path / ".20261101T120000.000Z.forgotten"
    left.mkdir()
    run(tmp_path, keep=1)
    assert not left.exists()
