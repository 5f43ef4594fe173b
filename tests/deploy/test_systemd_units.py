"""The systemd units: valid, hardened, and what they run takes the options that they give."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from router.cli import cli as rag_router
from tests.deploy.missing import missing
from training.cli import main as rag_policy

UNITS = Path(__file__).parent.parent.parent / "deploy" / "systemd"
SERVICES = ["rag-router.service", "rag-router-export.service", "rag-router-retrain.service"]
INSTALLED = "/opt/rag-router/bin/"
# Of 100, where 0 is a service that can do nothing at all.
MOST_EXPOSED = 20


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`systemd-analyze`; skips the test where there is none."""
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze isn't installed: apt-get install systemd")
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, with what they run where it is here."""
    for unit in UNITS.iterdir():
        here = re.sub(rf"{INSTALLED}\S+", sys.executable, unit.read_text(encoding="utf-8"))
        (tmp_path / unit.name).write_text(here, encoding="utf-8")
    return tmp_path


def test_systemd_finds_nothing_wrong_with_the_units(installed: Path) -> None:
    found = analyze("verify", "--man=no", *sorted(installed.iterdir()))
    assert (found.returncode, found.stderr) == (0, "")


def test_a_misspelt_setting_would_be_found(installed: Path) -> None:
    unit = installed / SERVICES[0]
    unit.write_text(unit.read_text(encoding="utf-8").replace("KillMode", "KillMood"))
    assert "Unknown key" in analyze("verify", "--man=no", unit).stderr


@pytest.mark.parametrize("name", SERVICES)
def test_the_units_are_hardened(name: str) -> None:
    found = analyze(
        "security", "--offline=yes", "--no-pager", f"--threshold={MOST_EXPOSED}", UNITS / name
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_each_command_is_one_that_there_is(name: str) -> None:
    """With `--help` beside them its options are parsed, and nothing is run."""
    text = (UNITS / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^ExecStart(?:Pre)?=(.+)$", text, flags=re.MULTILINE)
    assert lines
    for line in lines:
        program, *arguments = line.removeprefix(INSTALLED).split()
        command = {"rag-router": rag_router, "rag-policy": rag_policy}[program]
        result = CliRunner().invoke(command, [*arguments, "--help"])
        assert result.exit_code == 0, result.output
        known = result.output
        for option in (word for word in arguments if word.startswith("--")):
            assert f"{option} " in known or f"{option}\n" in known, f"{program} has no {option}"
