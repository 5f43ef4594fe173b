"""A small log of the benchmark's world, as if it were large."""

import importlib.util
from pathlib import Path
from types import ModuleType

_PATH = Path(__file__).parent.parent / "benchmarks" / "large_log.py"


def large_log() -> ModuleType:
    """The benchmark's module."""
    spec = importlib.util.spec_from_file_location("large_log", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_world(directory: Path, *, rows: int, seed: int) -> None:
    """Write the log of so many decisions."""
    large_log().write_large_log(directory, rows, seed)
