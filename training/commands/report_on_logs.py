"""How `rag-policy report` makes the owner's report of a log, and its page."""

from pathlib import Path

from policies.policy import Policy
from policies.settings import PolicySettings
from training.atomic_file import lines_to
from training.log.join import join_rounds
from training.log.log_files import read_log
from training.log.log_folder import LogPlace
from training.progress import note, progress
from training.remarks import remarks
from training.report.owner_report import OwnerReport, owner_report
from training.report.page import report_page


def report_on_logs(
    logs: LogPlace,
    candidate: Policy | None,
    settings: PolicySettings,
    weights: dict[str, float] | None,
    false_alarms: float,
    seed: int,
) -> OwnerReport:
    """What a log tells its owner; remarks on the log are said.

    Args:
        logs: the exported log, which is read into memory.
        candidate: judged as `promote` would, without a look being recorded.
        settings: of the service.
        weights: the objective; None leaves each decision its own.
        false_alarms: the chance of a false alarm of each drift test.
        seed: of all randomness.

    Raises:
        TrainingError: nothing can be said of it.
    """
    with progress("reading the log"):
        log = read_log(logs)
        version = None if candidate is None else candidate.feature_version or None
        rounds = join_rounds(log, source=logs, feature_version=version)
    for line in remarks(rounds):
        note(line)
    with progress("estimating and testing"):
        return owner_report(
            log,
            rounds,
            settings,
            objective=weights,
            policy=candidate,
            exploration=settings.exploration,
            false_alarm_rate=false_alarms,
            seed=seed,
        )


def write_page(report: OwnerReport, path: Path) -> None:
    """The report as a page that needs nothing else, written whole or not at all."""
    with lines_to(path) as write:
        write(report_page(report).encode())
