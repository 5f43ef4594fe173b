"""The loop closing, in about a minute: serve, decide, learn, prove, promote, serve better.

Runs the project's own two commands against a service it starts on a free port, with an embedded
store under .rag-router/demo. Traffic comes from a simulated support desk whose best policy is
known.
"""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

HOME = Path(".rag-router/demo")
DATA, LOGS, POLICY = HOME / "data", HOME / "logs", HOME / "policy"
LEARN, JUDGE = 12_000, 4000
QUERY = "What is the current status of single sign-on in the mobile app?"

console = Console()


def main() -> None:
    """Run the whole loop and print what it earned."""
    began = time.monotonic()
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    with service() as url:
        heading("A first request, decided by the built-in rules")
        console.print(f"$ curl -s {url}/v1/route -d '{json.dumps({'query': QUERY})}'")
        answer = httpx.post(f"{url}/v1/route", json={"query": QUERY}).json()
        console.print_json(data=answer)

        heading("Before: what the rules earn on the simulated support desk")
        before = simulate(url, JUDGE, seed=1)

        heading("Learning: traffic with feedback, exported, trained on, judged on the log")
        simulate(url, LEARN, seed=2)
        rag_policy("export", "--from", DATA, "--to", LOGS)
        rag_policy("train", "--logs", LOGS, "--to", POLICY, "--seed", "0")
        rag_policy("evaluate", "--policy", POLICY, "--logs", LOGS)

        heading("Promoting: the gate, then a swap without a restart")
        rag_policy("promote", "--policy", POLICY, "--logs", LOGS, "--store", DATA)

        heading("After: the same queries again")
        after = simulate(url, JUDGE, seed=1)
    show(before, after, time.monotonic() - began)


@contextmanager
def service() -> Iterator[str]:
    """A service on a free port; stopped, with its store, at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (HOME / "service.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "router.cli", "serve", "--port", str(port), "--data", str(DATA)],
        stdout=log,
        stderr=log,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        log.close()


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Return once the service answers; end the demo with its log's last lines if it can't start."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health/ready").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    sys.exit("the service didn't start:\n" + (HOME / "service.log").read_text()[-2000:])


def rag_policy(*arguments: object) -> None:
    """Run one command of the command line as a user would; end the demo where it fails."""
    words = [str(argument) for argument in arguments]
    console.print(f"$ rag-policy {' '.join(words)}", style="bold")
    finished = subprocess.run([sys.executable, "-m", "training.cli", *words], check=False)
    if finished.returncode:
        sys.exit(f"rag-policy {words[0]} ended with status {finished.returncode}")


def simulate(url: str, n: int, *, seed: int) -> dict[str, Any]:
    """Send traffic through the service; its score."""
    words = ["simulate", "--url", url, "--n", str(n), "--seed", str(seed)]
    console.print(f"$ rag-policy {' '.join(words)}", style="bold")
    command = [sys.executable, "-m", "training.cli", *words, "--json"]
    finished = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if finished.returncode:
        sys.exit(f"rag-policy simulate ended with status {finished.returncode}")
    score: dict[str, Any] = json.loads(finished.stdout)
    console.print(f"{score['decisions']:,} decisions, mean reward {score['served']:.4f}")
    return score


def heading(text: str) -> None:
    """A line between the parts."""
    console.rule(text, align="left")


def show(before: dict[str, Any], after: dict[str, Any], seconds: float) -> None:
    """The mean rewards on the same queries, beside what could have been earned."""
    room = after["oracle"] - before["served"]
    table = Table(title=f"Mean reward on the same {after['decisions']:,} queries")
    table.add_column("who decides")
    table.add_column("mean reward", justify="right")
    for name, value in (
        ("a random arm", after["random"]),
        (f"the best fixed arm ({after['best_fixed_arm']})", after["best_fixed"]),
        ("before: the built-in rules, exploring", before["served"]),
        ("after: the learned policy, exploring", after["served"]),
        ("the oracle, which knows every topic's best arm", after["oracle"]),
    ):
        table.add_row(name, f"{value:.4f}")
    console.print(table)
    share = (after["served"] - before["served"]) / room
    console.print(f"{share:.0%} of the way from the rules to the oracle, in {seconds:.0f} s.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
