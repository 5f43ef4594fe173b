"""The closed loop on recorded outcomes: does what is learned over HTTP keep up with the best arm?

For each seed: start the service, send the table's training rows as traffic (each decided by the
service, only the drawn arm's outcome reported back), export the log, train on it, promote, and
ask the table's test rows, which none of that has seen, what the promoted policy is truly worth.

    python benchmarks/loop_over_http.py --outcomes TABLE.jsonl.gz

prints one row a seed, beside the best fixed arm of the test rows and its standard error. The gate's
own verdict is printed too: a log of 3,000 rows is small for it, so promotion is overridden, on the
record, where it refuses.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "examples" / "recorded-arms.toml"


class Row(NamedTuple):
    """One seed's outcome; values are mean quality on the test rows."""

    seed: int
    version: str
    value: float
    standard_error: float
    best_fixed: float
    best_fixed_arm: str
    gate: str
    seconds: float

    def bound(self, errors: float) -> float:
        """The best fixed arm's value less that many standard errors."""
        return self.best_fixed - errors * self.standard_error


def main() -> int:
    """Run all seeds; exit status 1 where one falls short."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outcomes", type=Path, required=True, help="an outcomes table")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n", type=int, default=3000, help="rows sent as traffic")
    parser.add_argument(
        "--errors",
        type=float,
        default=1.0,
        help="how many standard errors below the best fixed arm still hold",
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for seed in range(arguments.seeds):
        print(f"seed {seed} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as home:
            rows.append(run_loop(Path(home), arguments.outcomes, seed, arguments.n))
    if arguments.json:
        print(json.dumps([row._asdict() for row in rows]))
    else:
        show(rows, arguments.errors)
    return 0 if all(row.value >= row.bound(arguments.errors) for row in rows) else 1


def run_loop(home: Path, table: Path, seed: int, n: int) -> Row:
    """Serve, learn, promote, and judge on the test rows."""
    began = time.monotonic()
    data, logs, policy = home / "data", home / "logs", home / "policy"
    server, url = start_service(home, data)
    try:
        rag_policy(
            "simulate", "--url", url, "--outcomes", table, "--split", "train", "--n", n,
            "--seed", seed, "--objective", "quality", "--config", CONFIG,
        )  # fmt: skip
        rag_policy("export", "--from", data, "--to", logs)
        rag_policy("train", "--logs", logs, "--to", policy, "--seed", seed, "--config", CONFIG,
                   "--objective", "quality")  # fmt: skip
        gate = promote(policy, logs, data)
        [active] = rag_policy("list", "--store", data)["activations"]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
    judged = rag_policy(
        "evaluate", "--policy", policy, "--outcomes", table, "--split", "test",
        "--objective", '{"quality": 1}',
    )  # fmt: skip
    [point] = [p for p in judged["curve"] if p["objective"] == {"quality": 1.0}][:1]
    qualities = {arm: metrics["quality"] for arm, metrics in judged["arms"].items()}
    best = max(qualities, key=lambda arm: qualities[arm])
    error = point["standard_error"]["quality"]
    return Row(
        seed, active["version"], point["value"]["quality"], error, qualities[best], best, gate,
        time.monotonic() - began,
    )  # fmt: skip


def promote(policy: Path, logs: Path, data: Path) -> str:
    """Promote through the gate; where it refuses, override it on the record. The gate's verdict."""
    words = ["--policy", policy, "--logs", logs, "--store", data, "--objective", "quality"]
    words += ["--config", CONFIG]
    judged = command("promote", *words)
    if judged.returncode == 0:
        return "promotes"
    conditions = json.loads(judged.stdout)["verdict"]["conditions"]
    rag_policy("promote", *words, "--override", "benchmark: the log is smaller than the gate wants")
    return "refuses: " + ", ".join(c["name"] for c in conditions if not c["passed"])


def start_service(home: Path, data: Path) -> tuple["subprocess.Popen[bytes]", str]:
    """A service on a free port of the loopback interface, and its URL."""
    log = home / "service.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "router.cli", "serve", "--port", "0", "--data", str(data),
             "--config", str(CONFIG)],
            stdout=output, stderr=output,
        )  # fmt: skip
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        text = log.read_text(errors="replace")
        found = re.search(r"running on (http://[\d.:]+)", text)
        if found and "startup complete" in text:
            return server, found.group(1)
        time.sleep(0.02)
    raise SystemExit(f"the service didn't start:\n{log.read_text(errors='replace')}")


def command(*words: object) -> "subprocess.CompletedProcess[str]":
    """One command of the command line, with --json."""
    line = [sys.executable, "-m", "training.cli", *map(str, words), "--json"]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def rag_policy(*words: object) -> Any:
    """What one command answers; ends the benchmark where it fails."""
    finished = command(*words)
    if finished.returncode:
        raise SystemExit(
            f"rag-policy {words[0]} ended with {finished.returncode}: {finished.stderr}"
        )
    return json.loads(finished.stdout)


def show(rows: list[Row], errors: float) -> None:
    """The table."""
    below = f"less {errors:g} SE"
    print(f"seed  version           promoted  best fixed (arm)   {below:<9}  holds  seconds  gate")
    for row in rows:
        fixed, bound = f"{row.best_fixed:.4f} ({row.best_fixed_arm})", row.bound(errors)
        print(
            f"{row.seed:>4}  {row.version}  {row.value:.4f}    {fixed:<17}  {bound:<9.4f}  "
            f"{'yes' if row.value >= bound else 'NO':<5}  {row.seconds:>7.1f}  {row.gate}"
        )


if __name__ == "__main__":
    sys.exit(main())
