"""The folder of kept reports: one folder a run, named by when it began, whole or not there.

A run writes into a folder whose name begins with a dot, and renames it once all is in it. What a
killed run left is removed by the next. A folder that goes is renamed so first, too, so that none is
ever seen in part.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from training.atomic_file import sync_directory
from training.errors import InputError, TrainingError
from training.progress import note

VERDICT_FILE = "verdict.json"

_WHOLE = re.compile(r"\d{8}T\d{6}\.\d{3}Z")
_UNFINISHED = ".unfinished"
_FORGOTTEN = ".forgotten"
# Why something serves, or may serve, is said by the reports of all other outcomes.
_CHANGED_NOTHING = ("refused", "failed")


class ReportsBusyError(TrainingError):
    """Another run writes its report to the folder."""

    exit_status = 1


class _Outcome(msgspec.Struct):
    """What of a verdict says whether its report may go."""

    outcome: str = ""


class ReportFolders:
    """The folder in which reports are kept."""

    def __init__(self, root: Path, *, keep: int | None = None) -> None:
        """Store the parts; nothing is read or made.

        Args:
            root: the folder.
            keep: how many reports of runs that changed nothing to keep, the latest; all without it.
                Others are kept always.
        """
        self.root = root
        self._keep = keep

    def whole(self) -> list[Path]:
        """The reports, oldest first."""
        found = self.root.iterdir() if self.root.is_dir() else ()
        return sorted(
            path
            for path in found
            if _WHOLE.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
        )

    @contextmanager
    def one_run(self) -> Iterator["UnfinishedReport"]:
        """A report to be written; what isn't finished when the block ends is removed.

        Raises:
            ReportsBusyError: another run is at work here.
            InputError: the folder can't be written to.
        """
        with self._locked():
            for ending in (_UNFINISHED, _FORGOTTEN):
                for left in self.root.glob(f".*{ending}"):
                    _remove(left)
            began = datetime.now(UTC)
            name = f"{began:%Y%m%dT%H%M%S}.{began.microsecond // 1000:03d}Z"
            report = UnfinishedReport(self.root / name)
            report.path.mkdir()
            try:
                yield report
            finally:
                shutil.rmtree(report.path, ignore_errors=True)
            self._forget(report.place)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / ".lock").open("a", encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"can't be written to ({error.strerror}): name another with --reports",
                path=self.root,
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ReportsBusyError(
                    f"another run writes its report to {self.root}: wait for it, or name another "
                    "folder with --reports"
                ) from error
            yield

    def _forget(self, latest: Path) -> None:
        """Remove the oldest that may go; never the latest, though by its name another is later."""
        if not self._keep:
            return
        room = self._keep - int(_may_go(latest))
        others = [report for report in self.whole() if report != latest and _may_go(report)]
        for old in others[: max(0, len(others) - room)]:
            away = old.with_name(f".{old.name}{_FORGOTTEN}")
            try:
                old.rename(away)
            except OSError as error:
                note(f"note: {old} couldn't be removed: {error}")
            else:
                _remove(away)


def _may_go(report: Path) -> bool:
    try:
        verdict = msgspec.json.decode((report / VERDICT_FILE).read_bytes(), type=_Outcome)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return False  # it may be of what serves
    return verdict.outcome in _CHANGED_NOTHING


def _remove(folder: Path) -> None:
    """Remove it; what stays makes no run a failure, since it is tried again by the next."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        note(f"note: {folder} couldn't be removed: {error}")


class UnfinishedReport:
    """A report on its way: files go to `path`, and are seen under `place` once it is `finished`.

    A run that fails keeps it if it is `needed`.
    """

    def __init__(self, place: Path) -> None:
        """Name both; nothing is made."""
        self.place = place
        self.path = place.with_name(f".{place.name}{_UNFINISHED}")
        self.finished = False
        self.needed = False

    def finish(self) -> None:
        """Make all that is in it seen, at once and durably."""
        for file in self.path.rglob("*"):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        self.path.rename(self.place)
        self.finished = True
        sync_directory(self.place.parent)
