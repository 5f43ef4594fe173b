"""What is released: built as a release is, installed into a clean environment, and serving."""

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path

import httpx
import pytest

from policies.version import VERSION
from tests.conftest import ROOT
from tests.deploy.missing import missing
from tests.stores import wait_until

pytestmark = pytest.mark.slow

# What a reader of the repository sees, without what building leaves beside it.
SOURCES = ("policies", "router", "training")
NEEDED = ("pyproject.toml", "README.md", "LICENSE", "constraints.txt")


def run(*command: object, folder: Path, **environ: str) -> str:
    """What it prints; fails the test where it fails. The source tree is on no path."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tool(name: str, *arguments: object, folder: Path) -> str:
    """Run a module of the `deploy` extra, or what `missing` makes of its absence."""
    if importlib.util.find_spec(name) is None:
        reason = f'no {name}: pip install -e ".[deploy]"'
        missing(reason)
    return run(
        sys.executable,
        "-m",
        name,
        *arguments,
        folder=folder,
        PYTHONPATH=os.environ.get("PYTHONPATH", ""),
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a release is built from: building writes into it."""
    folder = tmp_path_factory.mktemp("source") / "project"
    folder.mkdir()
    copied = [ROOT / name for name in (*SOURCES, *NEEDED)]
    run("cp", "-a", *copied, folder, folder=ROOT)
    for cache in folder.rglob("__pycache__"):
        run("rm", "-rf", cache, folder=folder)
    return folder


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source archive, and the wheel that is made of it alone."""
    folder = tmp_path_factory.mktemp("dist")
    tool("build", "--outdir", folder, source, folder=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in an environment of its own: the folder of its commands."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder.parent)
    constraints = ROOT / "constraints.txt"
    pip(folder, "install", "--quiet", "--no-compile", "-c", constraints, wheel)
    return folder / "bin"


def pip(environment: Path, *arguments: object) -> None:
    """Our pip, on another environment."""
    ours = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", environment)
    run(*ours, *arguments, folder=environment)


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_version_is_said_in_one_place(wheel: Path, built: Path) -> None:
    """Of the code; the changelog's latest entry is about it."""
    assert wheel.name == f"adaptive_rag_router-{VERSION}-py3-none-any.whl"
    assert (built / f"adaptive_rag_router-{VERSION}.tar.gz").is_file()
    assert metadata_of(wheel)["Version"] == VERSION
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.search(r"^## (\S+)", changelog, flags=re.MULTILINE)
    assert latest is not None
    assert latest.group(1) == VERSION


def test_the_wheel_holds_the_code_its_data_and_its_licence_and_nothing_else(wheel: Path) -> None:
    names = names_in(wheel)
    info = f"adaptive_rag_router-{VERSION}.dist-info"
    assert {name.split("/")[0] for name in names} == {*SOURCES, info}
    assert f"{info}/licenses/LICENSE" in names
    wanted = {
        str(path.relative_to(ROOT))
        for package in SOURCES
        for pattern in ("*.py", "py.typed", "minilm_static_256/*", "templates/*")
        for path in (ROOT / package).rglob(pattern)
        if "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.startswith(info)} == wanted
    assert metadata_of(wheel)["License-Expression"] == "Apache-2.0"


def test_the_source_archive_holds_what_the_wheel_is_made_of(built: Path) -> None:
    """`built` made its wheel from the archive alone, so that nothing is missing there."""
    with tarfile.open(built / f"adaptive_rag_router-{VERSION}.tar.gz") as archive:
        names = [name.split("/", 1)[1] for name in archive.getnames() if "/" in name]
    assert {"LICENSE", "README.md", "pyproject.toml", *SOURCES} <= {*names}
    assert not [name for name in names if name.split("/")[0] in ("tests", "benchmarks")]


def test_the_package_index_would_take_it(built: Path) -> None:
    """Its metadata, and its description as it would be shown."""
    tool("twine", "check", "--strict", *sorted(built.iterdir()), folder=built)


@pytest.mark.parametrize("command", ["rag-router", "rag-policy"])
def test_each_command_says_its_version(installed: Path, command: str, tmp_path: Path) -> None:
    printed = run(installed / command, "--version", folder=tmp_path)
    assert printed == f"{command}, version {VERSION}\n"


def test_what_is_installed_fits_together(installed: Path, tmp_path: Path) -> None:
    pip(installed.parent, "check")
    run(installed / "rag-router", "check", folder=tmp_path)
    run(installed / "rag-policy", "retrain", "--help", folder=tmp_path)


@pytest.fixture
def service(installed: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """The installed service, with nothing of the source tree in reach."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    printed = tmp_path / "printed"
    with printed.open("wb") as log:
        process = subprocess.Popen(
            [installed / "rag-router", "serve", "--port", "0", "--data", tmp_path / "data"],
            cwd=tmp_path,
            env=clean,
            stdout=log,
            stderr=log,
        )
    found: list[str] = []

    def running() -> bool:
        assert process.poll() is None, printed.read_text()
        found[:] = re.findall(r"running on (http://[\d.:]+)", printed.read_text())
        return bool(found)

    try:
        wait_until(running, timeout_s=60.0)
        with httpx.Client(base_url=found[0], timeout=20.0) as client:
            wait_until(lambda: ready(client), timeout_s=60.0)
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").is_success
    except httpx.TransportError:
        return False


def test_the_installed_service_decides_and_remembers(service: httpx.Client) -> None:
    """Its encoder comes with the wheel: the decision has features of it."""
    decision = service.post("/v1/route", json={"query": "Who wrote Emma?"}).json()
    assert decision["arm"] in {"finetuned", "retrieve", "hybrid"}

    def trace() -> httpx.Response:
        return service.get(f"/v1/decisions/{decision['decision_id']}")

    wait_until(lambda: trace().is_success)
    assert trace().json()["decision"]["feature_version"]
    assert service.get("/schema/openapi.json").json()["info"]["version"] == VERSION
