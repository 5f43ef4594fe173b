"""How long a decision takes here and in other routers: the same queries, machine and minute.

    python benchmarks/side_by_side.py --setup .venv-peers      # once: every peer's own environment
    python benchmarks/side_by_side.py [--outcomes TABLE.jsonl.gz] [--queries 1000] [--json FILE]

Every router runs in a process of its own, under its own environment's Python, on one thread, and
has learnt from the same training questions. In each of the rounds all of them are timed in turn on
the same few queries, one query a call and warm, so that whatever else the machine does meets all of
them alike. The table gives the median and the 99th percentile of a decision, its time of the
processor, and the medians' ratio to this project's; then batches, where a router takes them, and
what each does in that time. A router that isn't there is a row that says why.
"""

import argparse
import platform
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from bench_report import Report, Row, write_report
from peers.environments import DEFAULT_ROOT, OURS, PEERS, set_up, why_missing
from peers.questions import Questions, generated, recorded
from peers.running import BATCH, PeerError, Timed, running

# What the project asks of itself: this many times as fast, or at most this many times as slow.
_SLOWER_GOALS = {"same static table": ">= 30", "semantic-router 1.1: MiniLM": ">= 400"}
_FASTER_GOALS = {"Vowpal Wabbit: predict": "<= 3"}


def main() -> None:
    """Start every peer, time them in turn, print the table."""
    arguments = parse_arguments()
    failed = set_up(arguments.setup) if arguments.setup else {}
    if arguments.setup:
        sys.exit("\n".join(f"{title}: {why}" for title, why in failed.items()) or 0)
    count = arguments.queries
    questions = recorded(arguments.outcomes, count) if arguments.outcomes else generated(count)
    with ExitStack() as stack:
        ways, missing, versions = start(questions, arguments, stack)
        run_rounds(ways, questions.queries, arguments.rounds)
    print_tables(questions, ways, missing, versions, arguments.rounds)
    rows = report_rows(ways, missing)
    write_report(arguments.json, Report("side_by_side", rows, versions=versions))


def run_rounds(ways: list[Timed], queries: list[str], rounds: int) -> None:
    """All the ways in turn, round after round; each is warmed up on the round before's queries."""
    parts = [list(part) for part in np.array_split(np.array(queries, dtype=object), rounds)]
    for number, part in enumerate(parts):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for way in ways:
            try:
                way.run(parts[number - 1], part)
            except PeerError as error:
                sys.exit(f"{way.name} ended in the middle: {error}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outcomes", type=Path, help="take the questions from this table")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--peers", type=Path, default=DEFAULT_ROOT, help="their environments")
    parser.add_argument("--setup", type=Path, metavar="DIR", help="make the environments, and end")
    parser.add_argument("--only", help="peers whose name contains this, and this project")
    parser.add_argument("--hub", action="store_true", help="let peers download models from a hub")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    if not 1 <= arguments.rounds <= arguments.queries:
        parser.error("--rounds must be at least 1, and at most --queries")
    if arguments.outcomes and not arguments.outcomes.is_file():
        parser.error(f"--outcomes: there is no file {arguments.outcomes}")
    return arguments


def start(
    questions: Questions, arguments: argparse.Namespace, stack: ExitStack
) -> tuple[list[Timed], dict[str, str], dict[str, str]]:
    """Every peer's ways, single queries first; what is missing, and why; packages' versions."""
    single, batches = [], []
    missing, versions = {}, {}
    for peer in PEERS:
        if arguments.only and peer.title != OURS and arguments.only not in peer.title:
            continue
        why = why_missing(peer, arguments.peers)
        if why is None:
            print(f"starting {peer.title}", file=sys.stderr, flush=True)
            process = stack.enter_context(running(peer, arguments.peers, hub=arguments.hub))
            try:
                hello = process.ask({"arms": questions.arms, "train": questions.train})
            except PeerError as error:
                why = str(error)
        if why is not None and peer.title == OURS:
            sys.exit(f"this project can't be timed: {why}")
        if why is not None:
            missing[peer.title] = why
            continue
        for name, version in hello["versions"].items():
            same = versions.setdefault(name, version) == version
            versions[name if same else f"{name} ({peer.title})"] = version
        missing |= {f"{peer.title}: {name}": why for name, why in hello["missing"].items()}
        for index, way in enumerate(hello["ways"]):
            name = f"{peer.title}: {way['name']}"
            single.append(Timed(name, way["does"], process, index, batch=False))
            if way["batch"]:
                batches.append(Timed(name, way["does"], process, index, batch=True))
    return single + batches, missing, versions


def print_tables(
    questions: Questions,
    ways: list[Timed],
    missing: dict[str, str],
    versions: dict[str, str],
    rounds: int,
) -> None:
    """Two tables of times, then what each does, in Markdown."""
    words = np.median([len(query.split()) for query in questions.queries])
    print(
        f"{len(questions.queries):,} queries from {questions.source}, {words:.0f} words in the "
        f"median, {len(questions.train):,} to learn from, {rounds} rounds in turn; one thread; "
        f"{platform.machine()}, Python {platform.python_version()}\n"
    )
    for batch, title in ((False, "one query a call"), (True, f"{BATCH} a call, each")):
        chosen = [way for way in ways if way.batch == batch]
        if chosen:
            print(f"| {title} | p50 µs | p99 µs | CPU µs | × this project | over the rounds |")
            print("|---|---:|---:|---:|---:|---:|")
            print("\n".join(table_line(way, chosen[0]) for way in chosen) + "\n")
    for name, why in missing.items():
        print(f"- {name}: not run: {why}")
    print("\nWhat each does in that time:")
    single = [way for way in ways if not way.batch]
    for does in dict.fromkeys(way.does for way in single):
        print(f"- {'; '.join(way.name for way in single if way.does == does)}: {does}")
    print("\n" + ", ".join(f"{name} {version}" for name, version in versions.items()))


def table_line(way: Timed, ours: Timed) -> str:
    """Its times, and how many times ours they are: the medians', and the rounds' range."""
    p99 = "" if way.batch else f"{way.quantile(99):,.1f}"
    ratios = way.round_medians / ours.round_medians
    return (
        f"| {way.name} | {way.quantile(50):,.1f} | {p99} | {np.mean(way.cpu) / 1e3:,.1f} "
        f"| {way.quantile(50) / ours.quantile(50):,.2f} | {ratios.min():,.2f}–{ratios.max():,.2f} |"
    )


def report_rows(ways: list[Timed], missing: dict[str, str]) -> list[Row]:
    """Times of this project, ratios of everybody else."""
    ours = next(way for way in ways if not way.batch)
    rows = [
        Row(f"{ours.name}, p50", ours.quantile(50), "µs"),
        Row(f"{ours.name}, p99", ours.quantile(99), "µs"),
    ]
    for way in ways:
        if way.batch or way is ours:
            continue
        slower = way.quantile(50) / ours.quantile(50)
        rows.append(Row(f"{way.name} ÷ this project", slower, "×", _goal(way.name, _SLOWER_GOALS)))
        if (goal := _FASTER_GOALS.get(way.name)) is not None:
            rows.append(Row(f"this project ÷ {way.name}", 1 / slower, "×", goal))
    return rows + [Row(name, None, "×", note=why) for name, why in missing.items()]


def _goal(name: str, goals: dict[str, str]) -> str | None:
    return next((goal for part, goal in goals.items() if part in name), None)


if __name__ == "__main__":
    main()
