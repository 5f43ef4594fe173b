"""No code of ours loads what could run code: policies are JSON and safetensors."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

UNSAFE = {"pickle", "_pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
SOURCES = sorted(
    file
    for package in ("policies", "router", "training")
    for file in (ROOT / package).rglob("*.py")
)


def imported(source: str) -> set[str]:
    """The names of all modules that a source imports, inside functions too, by any part."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(part for alias in node.names for part in alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            found.update((node.module or "").split("."))
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found.update(arg.value for arg in node.args if isinstance(arg, ast.Constant))
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from joblib import load",
        "import sklearn.externals.joblib as j",
        "from multiprocessing import reduction\nfrom six.moves import cloudpickle",
        "importlib.import_module('dill')",
    ],
)
def test_the_search_finds_an_import_however_it_is_written(source: str) -> None:
    assert imported(source) & UNSAFE


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(Path(file).relative_to(ROOT)))
def test_no_source_file_imports_pickle(file: Path) -> None:
    assert not imported(file.read_text(encoding="utf-8")) & UNSAFE
