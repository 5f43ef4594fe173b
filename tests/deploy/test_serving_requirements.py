"""What the service's image installs: everything it imports, nothing that only training does."""

import importlib.util
import tomllib
from types import ModuleType

import pytest

from tests.conftest import ROOT

PYPROJECT = ROOT / "pyproject.toml"


def script() -> ModuleType:
    path = ROOT / "deploy/images/serving_requirements.py"
    spec = importlib.util.spec_from_file_location("serving_requirements", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_what_the_import_contract_forbids_the_service_is_left_out() -> None:
    contracts = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]
    (service,) = [c for c in contracts["contracts"] if c["source_modules"] == ["router"]]
    modules = {"scikit-learn": "sklearn"}
    left_out = {modules.get(name, name) for name in script().TRAINING_ONLY}
    # Scipy is what scikit-learn brings; nothing of the service names it either.
    assert left_out - {"scipy"} <= set(service["forbidden_modules"])
    sources = [*ROOT.glob("router/**/*.py"), *ROOT.glob("policies/**/*.py")]
    assert not any("import scipy" in file.read_text(encoding="utf-8") for file in sources)


def test_every_other_dependency_is_kept() -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    kept = script().serving_requirements(PYPROJECT, [])
    left_out = [one for one in project["dependencies"] if one not in kept]
    assert len(left_out) == len(script().TRAINING_ONLY)


def test_an_extra_brings_what_it_needs() -> None:
    assert any(
        one.startswith("lancedb") for one in script().serving_requirements(PYPROJECT, ["index"])
    )


def test_an_unknown_extra_is_named() -> None:
    with pytest.raises(SystemExit, match="EXTRAS names indx"):
        script().serving_requirements(PYPROJECT, ["indx"])
