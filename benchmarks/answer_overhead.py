"""What the router adds to a streamed answer, against the same model server called directly.

    python benchmarks/answer_overhead.py

Four processes: this one makes the load, the router runs as `rag-router serve`, the model server is
synthetic (it streams --tokens words, one every --token-ms, and computes nothing), and so is the
search service of the retrieving arm. Rounds of all targets take turns, so that what slows the
machine slows them alike; each figure is the median of the rounds' p50 or p99.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.request import urlopen

import numpy as np
from bench_report import Report, Row, write_report

WORD = b"lorem"
PASSAGES = [
    {"id": f"{n}", "title": f"Passage {n}", "text": "Dolor sit amet. " * 50, "score": 1.0 - n / 10}
    for n in range(5)
]
CONFIG = """
[models.synthetic]
base_url = "{model}/v1"
model = "synthetic"

[retrievers.search]
kind = "http"
url = "{search}/search"

[arms.finetuned]
route = "finetuned"
model = "synthetic"

[arms.retrieve]
route = "retrieve"
model = "synthetic"
retriever = "search"
"""

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Target(NamedTuple):
    """Who is asked, and for which model."""

    name: str
    port: int
    model: str


class Timing(NamedTuple):
    """Milliseconds of one answer."""

    first_token: float
    total: float


class Figures(NamedTuple):
    """Milliseconds: percentiles of one round, or medians of several rounds'."""

    first_p50: float
    first_p99: float
    total_p50: float
    total_p99: float


def main() -> None:
    """Measure all targets, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=50)
    parser.add_argument("--token-ms", type=float, default=10.0, help="time between two tokens")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--answers", type=int, default=20, help="answers a round at concurrency 1")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    model_app = SyntheticModel(arguments.tokens, arguments.token_ms / 1000.0)
    with (
        tempfile.TemporaryDirectory() as home,
        synthetic(model_app) as model,
        synthetic(SyntheticSearch()) as search,
        router(Path(home), model, search) as served,
    ):
        targets = [
            Target("direct", model, "synthetic"),
            Target("finetuned", served, "arm:finetuned"),
            Target("retrieve", served, "arm:retrieve"),
        ]
        describe(arguments)
        rows: list[Row] = []
        for concurrency in arguments.concurrency:
            answers = max(arguments.answers, concurrency * 10)
            figures = measure(targets, concurrency, answers, arguments)
            show(concurrency, answers * arguments.rounds, figures)
            rows += added_rows(concurrency, figures)
        write_report(arguments.json, Report("answer_overhead", rows))


def added_rows(concurrency: int, figures: dict[str, Figures]) -> list[Row]:
    """What the router adds to the first token and to the whole answer."""
    direct = figures["direct"]
    named = ("first token, p50", "first token, p99", "whole answer, p50", "whole answer, p99")
    return [
        Row(f"added to the {name}, {target}, concurrency {concurrency}", value - base, "ms")
        for target, of in figures.items()
        if target != "direct"
        for name, value, base in zip(named, of, direct, strict=True)
    ]


def measure(
    targets: list[Target], concurrency: int, answers: int, arguments: argparse.Namespace
) -> dict[str, Figures]:
    """Each target's medians."""
    rounds: dict[str, list[Figures]] = {target.name: [] for target in targets}
    for number in range(-1, arguments.rounds):
        for target in targets:
            timings = asyncio.run(load(target, concurrency, answers, arguments.tokens))
            if number >= 0:  # the first round warms up
                rounds[target.name].append(percentiles(timings))
    return {
        name: Figures(*(median(column) for column in zip(*of, strict=True)))
        for name, of in rounds.items()
    }


def percentiles(timings: list[Timing]) -> Figures:
    """One round's."""
    columns = np.asarray(timings)
    (first_p50, total_p50), (first_p99, total_p99) = np.percentile(columns, [50, 99], axis=0)
    return Figures(first_p50, first_p99, total_p50, total_p99)


async def load(target: Target, concurrency: int, answers: int, tokens: int) -> list[Timing]:
    """That many answers, so many at a time, each worker on a connection that it keeps."""
    numbers = iter(range(answers))
    timings: list[Timing] = []

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        for number in numbers:
            timings.append(await ask(reader, writer, target, number, tokens))
        writer.close()

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return timings


async def ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    target: Target,
    number: int,
    tokens: int,
) -> Timing:
    """One answer; ends the benchmark where it isn't whole.

    Sockets rather than an HTTP client, whose own time a token would stand beside the router's.
    """
    body = json.dumps(
        {
            "model": target.model,
            "messages": [{"role": "user", "content": f"Who directed the film number {number}?"}],
            "stream": True,
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    began = time.perf_counter()
    writer.write(head.encode() + body)
    received, first = b"", 0.0
    while not received.endswith(b"0\r\n\r\n"):
        piece = await reader.read(65536)
        if not piece:
            break
        received += piece
        if not first and WORD in piece:
            first = time.perf_counter()
    ended = time.perf_counter()
    if received.count(WORD) != tokens or b"[DONE]" not in received:
        raise SystemExit(f"{target.name} gave no whole answer: {received[:2000]!r}")
    return Timing((first - began) * 1e3, (ended - began) * 1e3)


class SyntheticModel:
    """An ASGI app that streams words at a steady pace, the first after one interval."""

    def __init__(self, tokens: int, interval_s: float) -> None:
        self.tokens, self.interval_s = tokens, interval_s

    async def __call__(self, _scope: dict[str, Any], receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        loop = asyncio.get_running_loop()
        began = loop.time()
        await send(response_start("text/event-stream"))
        await self._chunk(send, {"role": "assistant", "content": ""})
        for number in range(1, self.tokens + 1):
            await asyncio.sleep(began + number * self.interval_s - loop.time())
            await self._chunk(send, {"content": f"{WORD.decode()} "})
        await self._chunk(send, {}, "stop")
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _chunk(self, send: Send, delta: dict[str, str], finish: str | None = None) -> None:
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": "synthetic",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
        data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
        await send({"type": "http.response.body", "body": data, "more_body": True})


class SyntheticSearch:
    """An ASGI app that finds the same five passages at once, whatever is searched for."""

    async def __call__(self, _scope: dict[str, Any], receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send(response_start("application/json"))
        found = json.dumps({"passages": PASSAGES}).encode()
        await send({"type": "http.response.body", "body": found})


def response_start(media_type: str) -> dict[str, Any]:
    """The message that opens a response."""
    headers = [(b"content-type", media_type.encode())]
    return {"type": "http.response.start", "status": 200, "headers": headers}


@contextmanager
def synthetic(app: SyntheticModel | SyntheticSearch) -> Iterator[int]:
    """The app under uvicorn, in a process of its own; its port."""
    # asyncio turns off Nagle's delay, which is 40 ms here, only where the protocol is named.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        process = multiprocessing.get_context("spawn").Process(target=run, args=(app, listener))
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.join()


def run(app: SyntheticModel | SyntheticSearch, listener: socket.socket) -> None:
    """Serve until terminated."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def router(home: Path, model: int, search: int) -> Iterator[int]:
    """The service in front of the model server; its port."""
    config, log = home / "router.toml", home / "log"
    config.write_text(
        CONFIG.format(model=f"http://127.0.0.1:{model}", search=f"http://127.0.0.1:{search}")
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "router.cli", "serve", "--config", config, "--port", port]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*map(str, command), "--data", str(home / "data")], stdout=output, stderr=output
        )
    try:
        while not answers(f"http://127.0.0.1:{port}/health/ready"):
            if process.poll() is not None:
                raise SystemExit(f"the service didn't start:\n{log.read_text()}")
            time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def answers(url: str) -> bool:
    """Whether a GET succeeds."""
    try:
        with urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def describe(arguments: argparse.Namespace) -> None:
    """What was measured, where, when and how."""
    import httpx
    import litestar
    import uvicorn

    from policies.version import VERSION

    print(f"{datetime.now(UTC):%Y-%m-%d}: {shlex.join(['python', *sys.argv])}")
    print(
        f"router {VERSION}, {platform.machine()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}, litestar {litestar.__version__.formatted()}, "
        f"httpx {httpx.__version__}, uvicorn {uvicorn.__version__}"
    )
    print(
        f"a synthetic model server: {arguments.tokens} tokens, one every "
        f"{arguments.token_ms:g} ms; medians of {arguments.rounds} rounds, in ms"
    )


def show(concurrency: int, answers: int, figures: dict[str, Figures]) -> None:
    """One table: each target, then what it adds to the direct call."""
    direct = figures["direct"]
    print(f"\nconcurrency {concurrency}, {answers} answers each")
    print(f"{'':<12}{'first token p50':>24}{'p99':>24}{'total p50':>24}{'p99':>24}")
    for name, values in figures.items():
        cells = [f"{value:.1f}" for value in values]
        if name != "direct":
            cells = [
                f"{value:.1f} (+{value - base:.1f}, ×{value / base:.2f})"
                for value, base in zip(values, direct, strict=True)
            ]
        print(f"{name:<12}" + "".join(f"{cell:>24}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
