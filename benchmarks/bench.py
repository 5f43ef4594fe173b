"""Runs the speed benchmarks and puts their figures into one table.

    python benchmarks/bench.py [--only NAME] [--outcomes TABLE.jsonl.gz] [--json FILE]
    python benchmarks/bench.py --to docs/benchmarks.md     # a full run, as the page in the docs

They run one after the other, each in a process of its own, so that none has another for company.
One that can't run, for want of a tool or an environment, is named with its reason. Where a
machine's speed would matter, a figure is also given as a ratio to a yardstick: a fixed piece of
plain Python, timed right before and after the benchmark.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from bench_machine import ROOT, machine, yardstick_us
from bench_report import Report, Row, read_report

# A benchmark that takes longer than this hangs.
LIMIT_S = 3600
# How many seconds a unit of time is.
_SECONDS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}


class Benchmark(msgspec.Struct, frozen=True):
    """A script here that takes `--json FILE`.

    needs: commands that must be installed for any of it to run.
    """

    name: str
    options: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


BENCHMARKS = (
    Benchmark("decision_path"),
    Benchmark("side_by_side"),
    Benchmark("http_load", needs=("wrk", "taskset")),
    Benchmark("answer_overhead", ("--answers", "12")),
    Benchmark("export_throughput"),
    Benchmark("training_at_scale"),
    Benchmark("ope_speed"),
)


class Result(msgspec.Struct, frozen=True):
    """What a benchmark reported, or why it didn't; the yardstick at that time; how long it took."""

    name: str
    report: Report | None = None
    not_run: str | None = None
    yardstick_us: float = 0.0
    seconds: float = 0.0


class Run(msgspec.Struct, frozen=True):
    """Everything that a page says."""

    machine: dict[str, str]
    results: list[Result]


def main() -> None:
    """Run what was asked for, print the page, write what was asked for."""
    arguments = parse_arguments()
    chosen = [b for b in BENCHMARKS if not arguments.only or b.name in arguments.only]
    if arguments.to and arguments.only:
        sys.exit("--to writes the page of a full run: leave out --only")
    facts = machine()
    own = own_options(arguments)
    run = Run(facts, [run_one(benchmark, own.get(benchmark.name, ())) for benchmark in chosen])
    page = "\n".join(page_lines(run)) + "\n"
    print(page)
    if arguments.to:
        arguments.to.write_text(page, encoding="utf-8")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(run)) + b"\n")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser.add_argument("--only", action="append", choices=names, help="this one; may be repeated")
    parser.add_argument("--outcomes", type=Path, help="a table whose queries side_by_side takes")
    parser.add_argument("--peers", type=Path, help="where side_by_side's environments are")
    parser.add_argument("--service-python", type=Path, help="runs http_load's service")
    parser.add_argument("--to", type=Path, help="write the page to this file")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    return parser.parse_args()


def own_options(arguments: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """What is passed on, by the benchmark that takes it."""
    given = {
        "side_by_side": {"--outcomes": arguments.outcomes, "--peers": arguments.peers},
        "http_load": {"--service-python": arguments.service_python},
    }
    return {
        benchmark: tuple(
            text for name, path in options.items() if path for text in (name, str(path))
        )
        for benchmark, options in given.items()
    }


def run_one(benchmark: Benchmark, more: Sequence[str] = ()) -> Result:
    """Run it between two looks at the yardstick."""
    script = ROOT / "benchmarks" / f"{benchmark.name}.py"
    if not script.exists():
        return Result(benchmark.name, not_run=f"there is no benchmarks/{script.name}")
    missing = [tool for tool in benchmark.needs if shutil.which(tool) is None]
    if missing:
        return Result(benchmark.name, not_run=f"not installed here: {', '.join(missing)}")
    print(f"=== {benchmark.name}", file=sys.stderr, flush=True)
    before, began = yardstick_us(), time.monotonic()
    report, why = outcome_of([str(script), *benchmark.options, *more])
    seconds = time.monotonic() - began
    return Result(benchmark.name, report, why, (before + yardstick_us()) / 2, seconds)


def outcome_of(command: Sequence[str]) -> tuple[Report | None, str | None]:
    """The report that a benchmark wrote, or why it wrote none; what it prints goes to stderr."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        try:
            done = subprocess.run(
                [sys.executable, *command, "--json", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                stderr=subprocess.PIPE,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None, f"it took longer than {LIMIT_S} s"
        sys.stderr.write(done.stderr)
        if not done.returncode and not file.exists():
            return None, "it wrote no report to the file that --json names"
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            return None, said[-1].strip() if said else f"exit status {done.returncode}"
        try:
            return read_report(file), None
        except msgspec.MsgspecError as error:
            return None, f"its report can't be read: {error}"


def page_lines(run: Run) -> Iterator[str]:
    """The page, in Markdown."""
    yield "# Speed: the last full run"
    yield ""
    yield "Written by `make bench`; every figure with the command that measures it again."
    yield ""
    yield from (f"- {name}: {text}" for name, text in run.machine.items())
    yield ""
    yield (
        "The last column is what a machine's speed cancels in: times in yardsticks (ten thousand "
        "squares summed in plain Python, timed before and after each benchmark), rates a yardstick."
    )
    for result in run.results:
        yield ""
        yield from result_lines(result)


def result_lines(result: Result) -> Iterator[str]:
    """One benchmark's section."""
    yield f"## {result.name}"
    yield ""
    if result.report is None:
        yield f"Not run: {result.not_run}"
        return
    yield (
        f"`{result.report.command}` took {result.seconds:.0f} s; the yardstick was "
        f"{result.yardstick_us:.0f} µs."
    )
    if result.report.versions:
        yield ""
        yield ", ".join(f"{name} {version}" for name, version in result.report.versions.items())
    yield ""
    yield "| what | value | goal | met | in yardsticks |"
    yield "|---|---:|---:|---|---:|"
    yield from (row_line(row, result.yardstick_us) for row in result.report.rows)


def row_line(row: Row, yardstick: float) -> str:
    """A figure's line in the table; its note stands beside what it is a figure of."""
    what = row.what if row.note is None else f"{row.what} ({row.note})"
    value = "not run" if row.value is None else f"{figure(row.value)} {row.unit}".strip()
    goal = "" if row.goal is None else f"{row.goal} {row.unit}".strip()
    met = {None: "", True: "yes", False: "**no**"}[row.met]
    ratio = in_yardsticks(row, yardstick)
    cells = [what, value, goal, met, "" if ratio is None else figure(ratio)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def in_yardsticks(row: Row, yardstick_us: float) -> float | None:
    """A time as a multiple of the yardstick, a rate as how many in one; None of anything else."""
    yardstick_s = yardstick_us * 1e-6
    if row.value is None or not yardstick_s:
        return None
    if row.unit in _SECONDS:
        return row.value * _SECONDS[row.unit] / yardstick_s
    return row.value * yardstick_s if row.unit.endswith("/s") else None


def figure(value: float) -> str:
    """Three digits that matter; all of them before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
