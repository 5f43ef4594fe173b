"""The Grafana dashboard and its provisioning, as far as they can be held to something here."""

import json
import re
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from router.metrics import Metrics
from tests.conftest import ROOT
from tests.deploy.expressions import (
    all_expressions,
    dashboard,
    family_of,
    metrics_of,
    panels,
    rules,
)
from tests.deploy.prometheus_server import CONFIGURATION

PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
# Prometheus's own, not scraped from anywhere.
_OF_PROMETHEUS = {"up", "ALERTS"}


def exposed() -> set[str]:
    """The families that the service has, by the names that a scrape gives; but for when each
    counter began.
    """
    text = Metrics().render().decode()
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text)
        if not family.name.endswith("_created")
    }


@pytest.mark.parametrize("expression", all_expressions())
def test_every_expression_parses_and_asks_for_metrics_that_exist(expression: str) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {family_of(metric) for metric in metrics_of(expression)}
    asked -= {
        metric for metric in asked if metric.startswith("haproxy_")
    }  # test_monitoring has one
    assert asked <= exposed() | recorded | _OF_PROMETHEUS


def test_every_metric_of_the_service_is_shown_or_alerted_on() -> None:
    """One that nobody looks at is not worth its place."""
    asked = {family_of(metric) for one in all_expressions() for metric in metrics_of(one)}
    assert exposed() - asked == set()


def test_panels_have_their_own_places_and_ids() -> None:
    """Grafana would shift them about otherwise."""
    every = dashboard()["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (at["x"] + column, at["y"] + line)
            for column in range(at["w"])
            for line in range(at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_every_panel_asks_the_chosen_prometheus_for_the_chosen_jobs(panel: dict[str, Any]) -> None:
    assert panel["title"]
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        if not re.search(r"\b(ALERTS|haproxy_\w+)\{", target["expr"]):
            selectors = sum(target["expr"].count(f"{name}{{") for name in ("total", "bucket"))
            assert target["expr"].count('job=~"$job"') >= max(selectors, 1)


def test_the_variables_are_the_ones_that_panels_use() -> None:
    names = {variable["name"] for variable in dashboard()["templating"]["list"]}
    text = json.dumps(dashboard()["panels"])
    assert names == {"datasource", "job"}
    assert "$job" in text
    assert "${datasource}" in text


def test_grafana_expects_samples_as_often_as_prometheus_scrapes() -> None:
    """Rates over a window with fewer than two samples would be empty."""
    provisioned = yaml.safe_load(
        (PROVISIONING / "datasources" / "prometheus.yml").read_text(encoding="utf-8")
    )
    (source,) = provisioned["datasources"]
    scraped = yaml.safe_load((CONFIGURATION / "prometheus.yml").read_text(encoding="utf-8"))
    assert source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]
    assert source["url"] == "http://prometheus:9090"


def compose_service(name: str) -> dict[str, Any]:
    content = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    service: dict[str, Any] = content["services"][name]
    return service


def test_grafana_looks_for_dashboards_where_compose_puts_them() -> None:
    provisioned = yaml.safe_load(
        (PROVISIONING / "dashboards" / "dashboards.yml").read_text(encoding="utf-8")
    )
    (provider,) = provisioned["providers"]
    mounts = dict(
        mount.removesuffix(":ro").split(":") for mount in compose_service("grafana")["volumes"]
    )
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"


def test_prometheus_scrapes_the_services_of_compose() -> None:
    """All replicas, and the balancer's own metrics, which haproxy.cfg gives on that port."""
    scraped = yaml.safe_load((CONFIGURATION / "prometheus.yml").read_text(encoding="utf-8"))
    content = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    replicas = [name for name in content["services"] if name.startswith("router-")]
    assert {
        job["job_name"]: job["static_configs"][0]["targets"] for job in scraped["scrape_configs"]
    } == {"router": [f"{name}:8000" for name in replicas], "balancer": ["balancer:8405"]}


def test_the_docs_tell_of_every_metric_and_of_no_other() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    section = page.split("\n## Metrics\n")[1].split("\n## ")[0]
    names = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    told = {f"rag_router_{name}" for cell in names for name in re.findall(r"`(\w+)`", cell)}
    assert told == exposed()
