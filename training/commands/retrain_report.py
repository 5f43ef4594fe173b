"""What a run of `rag-policy retrain` came to: its report's verdict, and what is printed of it."""

from collections.abc import Callable
from typing import Literal

import click
import msgspec

from policies.registries import Activation
from training.atomic_file import sync_directory, write_durably
from training.judge.gate import Verdict
from training.progress import note
from training.report_folders import VERDICT_FILE, ReportFolders, UnfinishedReport
from training.rollout import ReplicaSwap


class Retraining(msgspec.Struct, frozen=True, kw_only=True):
    """What one run came to; a report's verdict.json, and what `--json` prints.

    `reason` is a sentence. `policy` is the version that was trained, `incumbent` the one that was
    active (None: the built-in rules). `more_decisions` is about how many more would settle a
    refusal, None where that isn't known or more don't help. `judged_decisions` is how many the log
    had when a policy was last judged against this incumbent, by this run or an earlier one.

    A report's `outcome` is "promoting" from just before the policy becomes active until that is
    known to have happened, so one that stays so may be of what serves. It is "failed" where a run
    failed after a look was taken: that run prints nothing.
    """

    outcome: Literal["promoted", "refused", "promoting", "failed"]
    reason: str
    report: str
    policy: str | None = None
    incumbent: str | None = None
    verdict: Verdict | None = None
    more_decisions: int | None = None
    judged_decisions: int | None = None
    activation: Activation | None = None
    replicas: list[ReplicaSwap] = []


class _Judged(msgspec.Struct):
    """What a run reads of an earlier one's verdict."""

    incumbent: str | None = None
    judged_decisions: int | None = None


def judged_before(reports: ReportFolders, incumbent: str | None) -> int | None:
    """What the latest report says of that; None where another policy has become active since."""
    for report in reversed(reports.whole()):
        verdict = report / VERDICT_FILE
        try:
            last = msgspec.json.decode(verdict.read_bytes(), type=_Judged)
        except FileNotFoundError:
            continue
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            note(f"note: {verdict} can't be read, an older report is asked: {error}")
            continue
        return last.judged_decisions if last.incumbent == incumbent else None
    return None


def finished_with(result: Retraining, report: UnfinishedReport) -> Retraining:
    """Write the verdict: the last file of an unfinished report, in place of a finished one's.

    Raises:
        OSError: it can't be written; of a finished report that is but noted.
    """
    if not report.finished:
        write_json(report, VERDICT_FILE, result)
        report.finish()
        return result
    try:
        write_durably(report.place / VERDICT_FILE, _encoded(result))
        sync_directory(report.place)
    except OSError as error:
        note(f"note: {report.place / VERDICT_FILE} says less than what happened: {error}")
    return result


def write_json(report: UnfinishedReport, name: str, content: object) -> None:
    """Write a file of an unfinished report."""
    (report.path / name).write_bytes(_encoded(content))


def _encoded(content: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content)) + b"\n"


def printer(as_json: bool) -> Callable[[Retraining], None]:
    """What prints a run's result, on one line."""

    def show(result: Retraining) -> None:
        line = f"{result.outcome}: {result.reason}{_settling(result)}; report in {result.report}"
        click.echo(msgspec.json.encode(result) if as_json else line)

    return show


def _settling(result: Retraining) -> str:
    if result.verdict is None or result.more_decisions is None:
        return ""
    return f" (about {result.more_decisions:,} more decisions would settle it)"
