"""The programs that render and check the chart, and what they make of it."""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT
from tests.deploy.missing import missing

CHART = ROOT / "deploy" / "chart"
RELEASE = "rel"
# The values that are rendered in every test, by name.
VALUES = {
    "default": (),
    "minimal": (f"--values={CHART / 'ci' / 'minimal-values.yaml'}",),
    "production": (f"--values={CHART / 'ci' / 'production-values.yaml'}",),
    "everything": (f"--values={CHART / 'ci' / 'everything-values.yaml'}",),
}

Document = dict[str, Any]


def program(name: str, cure: str) -> str:
    """The path of a program, beside the interpreter or on the PATH."""
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return shutil.which(name, path=places) or missing(f"{name} isn't installed: {cure}")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm on its own; it never asks a cluster."""
    return subprocess.run(
        [program("helm", "make deploy-tools"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@functools.cache
def rendered(values: str, *options: str) -> str:
    """All documents of a set of values, as `helm install` would send them."""
    found = helm("template", RELEASE, str(CHART), *VALUES[values], *options)
    assert found.returncode == 0, found.stderr
    return found.stdout


def documents(values: str, *options: str) -> list[Document]:
    """All documents of a set of values, read."""
    return [one for one in yaml.safe_load_all(rendered(values, *options)) if one]


def of_kind(found: list[Document], kind: str) -> list[Document]:
    """Those of one kind."""
    return [one for one in found if one["kind"] == kind]


def named(found: list[Document], kind: str, suffix: str = "") -> Document:
    """The one of a kind with a name that ends so, after the release's."""
    name = f"{RELEASE}-adaptive-rag-router{suffix}"
    (one,) = (one for one in of_kind(found, kind) if one["metadata"]["name"] == name)
    return one


def pod_templates(found: list[Document]) -> dict[str, Document]:
    """What pods are made from, by component."""
    templates = [
        one["spec"]["template"] for one in found if one["kind"] in ("Deployment", "StatefulSet")
    ]
    templates += [
        one["spec"]["jobTemplate"]["spec"]["template"] for one in of_kind(found, "CronJob")
    ]
    return {one["metadata"]["labels"]["app.kubernetes.io/component"]: one for one in templates}


def container(found: list[Document], component: str) -> Document:
    """The one container of a component's pods."""
    (one,) = pod_templates(found)[component]["spec"]["containers"]
    assert isinstance(one, dict)
    return one


def environment(of: Document) -> dict[str, str]:
    """A container's environment; what comes from a Secret is filled in."""
    return {
        one["name"]: one["value"] if "value" in one else secret(one["valueFrom"]["secretKeyRef"])
        for one in of.get("env", ())
    }


def secret(reference: Document) -> str:
    """A value for a Secret's key, unlike any other's."""
    return f"{reference['name']}-{reference['key']}"


def options_of(arguments: list[str]) -> dict[str, str]:
    """`--name=value` arguments, by name."""
    pairs = (one.removeprefix("--").partition("=") for one in arguments if one.startswith("--"))
    return {name: value for name, _, value in pairs}


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Whether a Kubernetes label selector matches."""
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    operators = {one["operator"] for one in selector.get("matchExpressions", ())}
    assert operators <= {"In"}
    return exact and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ())
    )


def moved(text: str, places: Mapping[str, str]) -> str:
    """A text in which one's own places stand for a pod's."""
    for there, here in places.items():
        text = text.replace(there, here)
    return text
