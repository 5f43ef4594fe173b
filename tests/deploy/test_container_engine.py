"""The engine that the container tests start: whatever happens, nothing of it stays behind."""

import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.deploy.engine import Engine, why_no_engine
from tests.deploy.missing import missing

pytestmark = pytest.mark.containers


def test_nothing_is_left_after_a_failure_with_containers_running(tmp_path: Path) -> None:
    reason = why_no_engine()
    if reason is not None:
        missing(reason)
    engine = Engine()
    archive = _one_program(tmp_path / "image.tar", Path("/bin/sleep"))
    with pytest.raises(RuntimeError, match="midway"):
        _fail_with_a_container_running(engine, archive)
    assert engine.leftovers() == []


def _fail_with_a_container_running(engine: Engine, archive: Path) -> None:
    with engine:
        engine.docker("import", str(archive), "localhost/sleep")
        engine.docker("network", "create", "front")
        options = ["--detach", "--network", "front", "--publish", "127.0.0.1::80"]
        options += ["--volume", "kept:/kept"]
        engine.docker("run", *options, "localhost/sleep", "/bin/sleep", "1000")
        assert engine.leftovers(), "a bridge, mounts and rules, while it runs"
        raise RuntimeError("midway")


def _one_program(archive: Path, program: Path) -> Path:
    """An image's files: a program of this machine and the libraries that it loads."""
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = [Path(path) for path in re.findall(r"(/\S+) \(", linked)]
    with tarfile.open(archive, "w") as tar:
        for path in (program, *libraries):
            tar.add(path.resolve(), arcname=str(path))
    return archive
