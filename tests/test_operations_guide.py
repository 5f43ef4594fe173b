"""Every command that a guide tells its reader to run is one that there is, with such options."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from router.cli import cli as rag_router
from tests.conftest import ROOT
from training.cli import main as rag_policy

PROGRAMS: dict[str, click.Command] = {"rag-router": rag_router, "rag-policy": rag_policy}
PAGES = ["operations", "releasing", "export", "gate", "rollout", "monitoring", "kubernetes"]


def commands(page: Path) -> list[list[str]]:
    """The words of each such command, in blocks and within the text; `…` stands for what isn't."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = [
        line for block in re.findall(r"```\w*\n(.*?)```", text, re.S) for line in block.split("\n")
    ]
    spans = re.findall(
        r"`(rag-(?:router|policy) [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S)
    )
    found = []
    for line in (*blocks, *spans):
        match = re.search(r"(?:^|[/ ])(rag-(?:router|policy) [a-z][^|;&>]*)", line)
        if match and "…" not in match.group(1) and "..." not in match.group(1):
            found.append(shlex.split(match.group(1), comments=True))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_guides_are_parsed(page: str) -> None:
    """`--help` beside the options: they are looked up, and nothing is run."""
    for program, *words in commands(ROOT / "docs" / f"{page}.md"):
        shown = CliRunner().invoke(PROGRAMS[program], [words[0], "--help"])
        assert shown.exit_code == 0, f"{program} {words[0]}: {shown.output}"
        for option in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", shown.output), f"{program} {words[0]} has no {option}"


def test_such_commands_are_found() -> None:
    found = commands(ROOT / "docs" / "operations.md")
    assert ["rag-policy", "promote", "--policy", "policy/", "--from-canary"] in found
