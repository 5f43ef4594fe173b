"""The rules: right for Prometheus, each alert tested, and none bound to one deployment."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.deploy.expressions import alerts, rules
from tests.deploy.prometheus_server import CONFIGURATION, program

ALERTS = alerts()


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "--lint-fatal", "rules.yml"],
        ["test", "rules", "rules.test.yml"],
        ["test", "rules", "rules.weeks.test.yml"],
    ],
    ids=" ".join,
)
def test_promtool_finds_nothing_wrong(arguments: list[str]) -> None:
    """`test rules` runs series of numbers, and says which alert fires on them."""
    found = subprocess.run(
        [program("promtool"), *arguments],
        cwd=CONFIGURATION,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def expectations() -> list[dict[str, Any]]:
    """What rules.test.yml expects of alerts."""
    content = yaml.safe_load((CONFIGURATION / "rules.test.yml").read_text(encoding="utf-8"))
    return [one for test in content["tests"] for one in test.get("alert_rule_test", ())]


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_tested_to_fire_and_to_stay_quiet(name: str) -> None:
    expected = [bool(one["exp_alerts"]) for one in expectations() if one["alertname"] == name]
    assert set(expected) == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_how_urgent_it_is_and_what_has_happened(name: str) -> None:
    """And whose it is, so that a Prometheus of many can tell."""
    labels = ALERTS[name]["labels"]
    assert labels["severity"] in ("critical", "warning")
    assert labels["app"] == "adaptive-rag-router"
    assert ALERTS[name]["annotations"]["summary"].endswith(".")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_no_rule_names_a_job_or_a_host(rule: dict[str, Any]) -> None:
    """The chart carries the same file, where jobs and addresses are others."""
    assert not re.search(r"\b(job|instance|namespace|pod)\s*[!=]", rule["expr"])


def test_every_alert_has_a_section_in_the_docs_and_no_section_is_left_over() -> None:
    """In the order in which the rules have them."""
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    section = page.split("\n## What each alert means and wants\n")[1].split("\n## ")[0]
    assert re.findall(r"^### (\w+)$", section, re.MULTILINE) == list(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_the_docs_tell_how_urgent_each_alert_is(name: str) -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    begun = page.split(f"\n### {name}\n")[1].lstrip()
    assert begun.startswith(f"*{ALERTS[name]['labels']['severity'].capitalize()}.*")
