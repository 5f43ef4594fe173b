"""The chart's network policies: who may call whom."""

from pathlib import Path

import pytest
import yaml

from tests.deploy.kubernetes_tools import (
    Document,
    container,
    documents,
    environment,
    named,
    pod_templates,
    selects,
)


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("redis://store/0", {6379}),
        ("rediss://u@store:7000/0", {7000}),
        ("redis+cluster://a:6379,b:6380,c", {6379, 6380}),
        ("redis+sentinel://a:26379,b/main/0", {26379, 6379}),
    ],
)
def test_the_network_policies_let_pods_reach_the_store(
    url: str, ports: set[int], tmp_path: Path
) -> None:
    # From a file: --set would take the commas for its own.
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"redis": {"enabled": False, "url": url}}), encoding="utf-8")
    found = documents("default", f"--values={values}")
    for suffix in ("", "-jobs"):
        assert ports <= reached(named(found, "NetworkPolicy", suffix))


def reached(policy: Document) -> set[int]:
    """The ports that a policy lets pods call."""
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}


def test_the_network_policies_let_pods_reach_what_they_are_configured_to_call() -> None:
    found = documents("production")
    # DNS, the store, models, the search server; for jobs, object storage.
    assert reached(named(found, "NetworkPolicy")) == {53, 6379, 443, 8000, 6333}
    assert reached(named(found, "NetworkPolicy", "-jobs")) == {53, 6379, 443}
    # An index and credentials on object storage of one's own.
    found = documents("everything")
    assert reached(named(found, "NetworkPolicy")) == {53, 26379, 6379, 9000, 4317}
    assert environment(container(found, "router"))["AWS_ENDPOINT_URL"] == "http://minio:9000"


def test_the_network_policies_join_the_service_and_the_bundled_store() -> None:
    found = documents("default")
    labels = pod_templates(found)["redis"]["metadata"]["labels"]
    for suffix in ("", "-jobs"):
        egress = named(found, "NetworkPolicy", suffix)["spec"]["egress"]
        (rule,) = (one for one in egress if {"protocol": "TCP", "port": 6379} in one["ports"])
        (peer,) = rule["to"]
        assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    (rule,) = named(found, "NetworkPolicy", "-redis")["spec"]["ingress"]
    (peer,) = rule["from"]
    templates = pod_templates(found)
    let_in = {
        component
        for component, template in templates.items()
        if selects(peer["podSelector"], template["metadata"]["labels"])
    }
    assert let_in == {"router", "export", "training"}


@pytest.mark.parametrize("values", ["default", "production", "everything"])
def test_nobody_calls_the_service_whom_the_values_do_not_name(values: str) -> None:
    """A rule without peers would let everybody in."""
    (rule,) = named(documents(values), "NetworkPolicy")["spec"]["ingress"]
    wanted = {
        "default": [{"podSelector": {}}],
        "production": [of_namespace("ingress-nginx"), of_namespace("monitoring")],
        "everything": [{"podSelector": {"matchLabels": {"app": "shop"}}}],
    }
    assert rule["from"] == wanted[values]
    assert [port["port"] for port in rule["ports"]] == ["http"]
    assert "ingress" not in named(documents(values), "NetworkPolicy", "-jobs")["spec"]


def of_namespace(name: str) -> Document:
    """A peer: every pod of a namespace."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
