"""A command that is stopped while it puts a large log in order leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.large_world import write_world

# The command itself; a small log is large to it.
_CODE = """
from functools import partial
from training.cli import main
from training.commands import train_on_logs
train_on_logs.log_in_parts = partial(train_on_logs.log_in_parts, in_memory=0, part_rows=50)
main()
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("log")
    write_world(directory, rows=20_000, seed=0)
    return directory


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_log_is_shuffled_removes_the_scratch_files(
    log: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    scratch, policy = tmp_path / "scratch", tmp_path / "policy"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE, "train", "--logs", str(log), "--to", str(policy),
         "--scratch", str(scratch)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 60.0
    while not list(scratch.glob("rag-policy-*/rounds-*.arrow")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == status
    assert stderr.decode().splitlines()[-1].startswith(f"Error: stopped by {number.name}")
    assert b"Traceback" not in stderr
    assert list(scratch.iterdir()) == []
    assert not policy.exists()
