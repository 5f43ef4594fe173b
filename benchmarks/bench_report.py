"""What a speed benchmark reports: a few measured numbers, which `bench.py` collects into one table.

    from bench_report import Report, Row, write_report

    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    ...
    rows = [Row("the whole decision, p50", 58.2, "µs", goal="<= 60")]
    write_report(arguments.json, Report("decision_path", rows))

A figure that couldn't be measured is a row too: `Row("…", None, "µs", note="wrk isn't installed")`.
"""

import math
import operator
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One measured number.

    value: None where it wasn't measured; then `note` says why.
    unit: as printed after the number, such as "µs", "events/s", "×" for a ratio.
    goal: "<= NUMBER" or ">= NUMBER", in the row's unit; none where nothing was asked of it.
    note: anything a reader needs to read the number right.
    """

    what: str
    value: float | None
    unit: str
    goal: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.goal is not None:
            _parse_goal(self.goal)
        if self.value is None and not self.note:
            raise ValueError(f"{self.what}: a row without a value needs a note that says why")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self.what}: {self.value} is not a finite number")

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached; None where there is no goal or no value."""
        if self.goal is None or self.value is None:
            return None
        comparison, bound = _parse_goal(self.goal)
        return _COMPARISONS[comparison](self.value, bound)


def this_command() -> str:
    """The command line of this process as a reader would type it, files by their names alone."""
    script, *arguments = (Path(a).name if Path(a).is_absolute() else a for a in sys.argv)
    if "--json" in arguments:
        at = arguments.index("--json")
        del arguments[at : at + 2]
    return shlex.join(["python", f"benchmarks/{Path(script).name}", *arguments])


class Report(msgspec.Struct, frozen=True):
    """What one benchmark measured, and the command that measures it again."""

    benchmark: str
    rows: list[Row]
    command: str = msgspec.field(default_factory=this_command)
    versions: dict[str, str] = {}  # of what it compares itself with or runs on, beyond Python


def write_report(file: Path | None, report: Report) -> None:
    """Write the report as JSON; nothing where no file was asked for."""
    if file is not None:
        written = msgspec.json.encode(report, enc_hook=float)  # numpy's numbers are numbers, too
        file.write_bytes(msgspec.json.format(written) + b"\n")


def read_report(file: Path) -> Report:
    """What `write_report` wrote.

    Raises msgspec.ValidationError where it isn't a report.
    """
    return msgspec.json.decode(file.read_bytes(), type=Report)


def _parse_goal(goal: str) -> tuple[str, float]:
    comparison, _, bound = goal.partition(" ")
    if comparison not in _COMPARISONS:
        raise ValueError(f"a goal is '<= NUMBER' or '>= NUMBER', not {goal!r}")
    return comparison, float(bound)
