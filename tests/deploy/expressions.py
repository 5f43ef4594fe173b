"""The expressions of the shipped rules and dashboard, and the metrics that they ask for."""

import json
from typing import Any

import yaml

from tests.deploy.missing import missing
from tests.deploy.prometheus_server import CONFIGURATION, DASHBOARD

# What Grafana fills in, as it would be for one job scraped every second.
_VARIABLES = {"$__rate_interval": "5s", "$job": ".+"}
_HISTOGRAM_PARTS = ("_bucket", "_count", "_sum")


def rules() -> list[dict[str, Any]]:
    """All rules, recording ones and alerts."""
    groups = yaml.safe_load((CONFIGURATION / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """The alerts, by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    content: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return content


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels, rows left out."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def panel_expressions() -> list[tuple[str, str]]:
    """(panel's title, expression) of every query, with Grafana's variables filled in."""
    return [
        (panel["title"], _filled(target["expr"]))
        for panel in panels()
        for target in panel["targets"]
    ]


def all_expressions() -> list[str]:
    """Those of rules, panels and annotations."""
    annotations = [_filled(one["expr"]) for one in dashboard()["annotations"]["list"]]
    ours = [rule["expr"] for rule in rules()]
    return ours + [expression for _, expression in panel_expressions()] + annotations


def _filled(expression: str) -> str:
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def metrics_of(expression: str) -> set[str]:
    """The names of the metrics that an expression asks for; fails where it can't be parsed."""
    try:
        import promql_parser
    except ImportError:
        missing("promql-parser isn't installed: pip install 'adaptive-rag-router[deploy]'")
    found: set[str] = set()

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.add(node.name)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def family_of(metric: str) -> str:
    """What `# TYPE` calls a metric: a histogram's parts are its own."""
    for part in _HISTOGRAM_PARTS:
        metric = metric.removesuffix(part)
    return metric
