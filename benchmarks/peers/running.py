"""A peer's process, as `side_by_side.py` talks to it, and what was measured of it."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from peers.environments import HERE, PeerSpec

BATCH = 64
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


class Running:
    """A peer's process, which answers a line with a line."""

    def __init__(self, process: "subprocess.Popen[str]", complaints: IO[str]) -> None:
        self._process, self._complaints = process, complaints

    def ask(self, what: dict[str, Any]) -> dict[str, Any]:
        """Its answer. Raises PeerError where it has ended instead."""
        try:
            print(json.dumps(what), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._complaints.seek(0)
            said = self._complaints.read().strip().splitlines() or ["it ended without a word"]
            raise PeerError(said[-1])
        return json.loads(line)


class PeerError(Exception):
    """A peer can't be built or has died; the text is the last thing it said."""


@contextmanager
def running(peer: PeerSpec, root: Path, *, hub: bool) -> Iterator[Running]:
    """The peer's process, ended at the end."""
    environment = dict.fromkeys(_ONE_THREAD, "1") | {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "0" if hub else "1",
    }
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            [str(peer.python(root)), str(HERE / peer.script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env=os.environ | environment,
        )
        try:
            yield Running(process, complaints)
        finally:
            process.kill()
            process.communicate()


@dataclass
class Timed:
    """One way of one peer, and what was measured of it."""

    name: str
    does: str
    peer: Running
    index: int
    batch: bool
    taken: list[list[float]] = field(default_factory=list)  # ns a query, a list for every round
    cpu: list[float] = field(default_factory=list)  # ns a query, the round's mean

    def run(self, warm_up: list[str], queries: list[str]) -> None:
        """One round."""
        if self.batch:
            warm_up, queries = list(np.resize(warm_up, BATCH)), list(np.resize(queries, BATCH))
        asked = {"way": self.index, "batch": self.batch, "warm_up": warm_up, "queries": queries}
        answer = self.peer.ask(asked)
        self.taken.append(answer["ns"])
        self.cpu.append(answer["cpu_ns"] / len(queries))

    def quantile(self, q: float) -> float:
        """µs a query."""
        return float(np.percentile(np.concatenate(self.taken), q)) / 1e3

    @property
    def round_medians(self) -> np.ndarray:
        """ns, one a round."""
        return np.array([np.median(taken) for taken in self.taken])
