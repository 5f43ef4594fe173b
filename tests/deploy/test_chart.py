"""The chart: what it renders is valid, hardened, and fits together."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from policies.version import VERSION
from tests.conftest import ROOT
from tests.deploy.kubernetes_tools import (
    CHART,
    RELEASE,
    VALUES,
    Document,
    documents,
    helm,
    named,
    of_kind,
    pod_templates,
    program,
    rendered,
    selects,
)

OPERATOR_KINDS = ("ServiceMonitor", "PrometheusRule")
OLDEST, NEWEST = "1.30", "1.35"
SECRET_IN_ADDRESS = re.compile(r"://[^\s\"]*@|[?&]\w*(key|token|password|secret)\w*=", re.I)
every_values = pytest.mark.parametrize("values", VALUES)


@every_values
def test_helm_finds_nothing_wrong(values: str) -> None:
    found = helm("lint", "--strict", str(CHART), *VALUES[values])
    assert found.returncode == 0, found.stdout + found.stderr
    assert "[WARNING]" not in found.stdout


@every_values
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_document_fits_the_schemas_of_the_kubernetes_api(
    values: str, version: str, tmp_path: Path
) -> None:
    native = [one for one in documents(values) if one["kind"] not in OPERATOR_KINDS]
    assert {one["kind"] for one in native} >= {"Service", "ConfigMap", "ServiceAccount"}
    path = tmp_path / "rendered.yaml"
    path.write_text(yaml.safe_dump_all(native), encoding="utf-8")
    validate = program("kubernetes-validate", 'pip install "adaptive-rag-router[dev]"')
    found = subprocess.run(
        [validate, "--strict", "--kubernetes-version", version, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = found.stdout + found.stderr
    assert found.returncode == 0, output
    assert output.count("passed for resource") == len(native), output


def test_every_part_can_be_rendered() -> None:
    kinds = {one["kind"] for values in VALUES for one in documents(values)}
    assert kinds == {
        *("Deployment", "StatefulSet", "CronJob", "Service", "Ingress", "ConfigMap"),
        *("HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"),
        *("PersistentVolumeClaim", *OPERATOR_KINDS),
    }


def test_the_chart_has_the_distributions_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


# --- labels: who finds whom ---


@every_values
def test_every_workload_finds_its_own_pods_and_no_others(values: str) -> None:
    found = documents(values)
    templates = pod_templates(found)
    for workload in (*of_kind(found, "Deployment"), *of_kind(found, "StatefulSet")):
        own = workload["spec"]["template"]["metadata"]["labels"]
        chosen = [
            component
            for component, template in templates.items()
            if selects(workload["spec"]["selector"], template["metadata"]["labels"])
        ]
        assert chosen == [own["app.kubernetes.io/component"]]


def selectors(found: list[Document]) -> list[tuple[str, Document]]:
    """Every selector of pods that isn't a workload's own, with whose it is."""
    kinds = ("PodDisruptionBudget", "NetworkPolicy")
    mine = [(one["metadata"]["name"], one["spec"]) for one in found if one["kind"] in kinds]
    policies = [(name, spec.get("selector") or spec["podSelector"]) for name, spec in mine]
    services = [
        (one["metadata"]["name"], {"matchLabels": one["spec"]["selector"]})
        for one in of_kind(found, "Service")
    ]
    spread = [
        ("spread", constraint["labelSelector"])
        for template in pod_templates(found).values()
        for constraint in template["spec"].get("topologySpreadConstraints", ())
    ]
    return policies + services + spread


@every_values
def test_every_selector_finds_pods(values: str) -> None:
    found = documents(values)
    labels = [template["metadata"]["labels"] for template in pod_templates(found).values()]
    for name, selector in selectors(found):
        assert any(selects(selector, one) for one in labels), (name, selector)


def test_the_monitor_scrapes_the_service_once() -> None:
    found = documents("production")
    monitor = named(found, "ServiceMonitor")
    scraped = [
        one
        for one in of_kind(found, "Service")
        if selects(monitor["spec"]["selector"], one["metadata"]["labels"])
    ]
    assert [one["metadata"]["name"] for one in scraped] == [monitor["metadata"]["name"]]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in scraped[0]["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"


def test_the_rules_are_those_that_are_tested_with_prometheus() -> None:
    shipped = ROOT / "deploy" / "prometheus" / "rules.yml"
    assert (CHART / "files" / "rules.yml").resolve() == shipped
    rule = named(documents("production"), "PrometheusRule")
    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule["spec"] == yaml.safe_load(shipped.read_text(encoding="utf-8"))
    assert rule["spec"]["groups"]


def test_the_dashboards_are_those_of_the_compose_file() -> None:
    folder = ROOT / "deploy" / "grafana" / "dashboards"
    given = named(documents("production"), "ConfigMap", "-dashboards")
    assert given["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {name: json.loads(text) for name, text in given["data"].items()} == {
        path.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")
    }


def test_the_autoscaler_scales_what_there_is() -> None:
    for values, options in (("production", ()), ("default", ("--set=autoscaling.enabled=true",))):
        found = documents(values, *options)
        target = named(found, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
        scaled = named(found, target["kind"])
        # It would be undone at every upgrade.
        assert "replicas" not in scaled["spec"]


def test_cpu_is_scaled_by_what_a_pod_asks_for() -> None:
    found = documents("default", "--set=autoscaling.enabled=true")
    (metric,) = named(found, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["resource"]["name"] == "cpu"
    (router,) = pod_templates(found)["router"]["spec"]["containers"]
    assert router["resources"]["requests"]["cpu"]


# --- hardening ---


@every_values
def test_no_pod_may_more_than_it_needs(values: str) -> None:
    for template in pod_templates(documents(values)).values():
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "hostNetwork" not in pod
        for one in pod["containers"]:
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert one["resources"]["limits"]["memory"]


@every_values
def test_no_secret_is_in_what_is_rendered(values: str) -> None:
    found = documents(values, "--set=redis.existingSecret=store")
    assert not of_kind(found, "Secret")
    for template in pod_templates(found).values():
        for one in template["spec"]["containers"]:
            for variable in one.get("env", ()):
                if re.search(r"KEY|PASSWORD|SECRET|TOKEN|AUTH", variable["name"]):
                    assert set(variable) == {"name", "valueFrom"}, variable
                    assert set(variable["valueFrom"]) == {"secretKeyRef"}
            for argument in (*one.get("command", ()), *one.get("args", ())):
                assert not SECRET_IN_ADDRESS.search(argument), argument
    for configuration in of_kind(found, "ConfigMap"):
        for text in configuration["data"].values():
            assert not SECRET_IN_ADDRESS.search(text), configuration["metadata"]["name"]


def test_the_same_values_render_the_same_documents() -> None:
    again = helm("template", RELEASE, str(CHART), *VALUES["production"])
    assert again.stdout == rendered("production")


def test_the_chart_can_be_packed_and_used_from_the_package(tmp_path: Path) -> None:
    """The links to rules and dashboards are files in it."""
    packed = helm("package", str(CHART), "--destination", str(tmp_path))
    assert packed.returncode == 0, packed.stderr
    (package,) = tmp_path.glob("*.tgz")
    again = helm("template", RELEASE, str(package), *VALUES["production"])
    assert again.stdout == rendered("production"), again.stderr
