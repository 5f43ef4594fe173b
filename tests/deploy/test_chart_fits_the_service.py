"""What the chart runs and promises, held against the real service and command line."""

import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from router.cli import cli
from router.log.event_log import EventLog
from router.metrics import Metrics
from tests.conftest import ROOT
from tests.deploy.kubernetes_tools import (
    RELEASE,
    VALUES,
    Document,
    container,
    documents,
    environment,
    moved,
    named,
    options_of,
    pod_templates,
)
from tests.service_process import ServiceProcess
from tests.stores import StoreServer
from training.cli import main as rag_policy

every_values = pytest.mark.parametrize("values", VALUES)


def configuration(found: list[Document]) -> str:
    """router.toml, as the pods read it."""
    text = named(found, "ConfigMap")["data"]["router.toml"]
    assert isinstance(text, str)
    return text


@every_values
def test_the_service_takes_the_configuration(values: str, tmp_path: Path) -> None:
    found = documents(values)
    path = tmp_path / "router.toml"
    path.write_text(configuration(found), encoding="utf-8")
    checked = subprocess.run(
        [sys.executable, "-m", "router.cli", "check", "--config", str(path)],
        env={**os.environ, **environment(container(found, "router"))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert "store:      configured" in checked.stdout


def test_values_reach_the_configuration_as_they_are(tmp_path: Path) -> None:
    """Helm's own TOML would make 400 into 400.0, which the service refuses."""
    parameters = {
        "max_tokens": 400,
        "seed": 123456789012,
        "temperature": 0.25,
        "small": 0.00001,
        "stream it": True,
        "stop": ["</s>", 'a "quoted" \\ one', "zwölf\n"],
        "tools": [{"type": "function", "function": {"name": "f", "n": 3}}],
        "empty": {},
    }
    config = {
        "models": {"m": {"base_url": "http://m:1", "model": "x", "parameters": parameters}},
        "arms": {"a.b": {"route": "finetuned", "model": "m", "k": 7}},
    }
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps({"config": config}), encoding="utf-8")
    read = tomllib.loads(configuration(documents("default", f"--values={values}")))
    assert read.pop("redis")["url"] == f"redis://{RELEASE}-adaptive-rag-router-redis:6379/0"
    assert read == config
    assert isinstance(read["models"]["m"]["parameters"]["seed"], int)


def test_a_changed_configuration_starts_new_pods() -> None:
    checksums = [
        pod_templates(documents("default", option))["router"]["metadata"]["annotations"]
        for option in ("--set=config.log.text=none", "--set=config.log.text=redacted")
    ]
    assert checksums[0] != checksums[1]


def test_what_a_pod_runs_answers_its_probes_and_ends_in_time(
    tmp_path: Path, valkey_server: StoreServer
) -> None:
    found = documents("minimal")
    router = container(found, "router")
    store = f"redis://{RELEASE}-adaptive-rag-router-redis:6379/0"
    at_home = moved(configuration(found), {store: valkey_server.url})
    grace = options_of(router["args"])["grace"]
    with ServiceProcess(tmp_path / "data", f"--grace={grace}", config=at_home) as service:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert service.client.get(router[probe]["httpGet"]["path"]).status_code == 200
        service.route()
        assert service.stop() == 0


@pytest.mark.slow
def test_the_jobs_work_on_what_the_pods_log(tmp_path: Path, valkey_server: StoreServer) -> None:
    """Replicas, export and training as the chart starts them, on one store."""
    found = documents("default", "--set=replicaCount=1")
    at_home = {
        f"redis://{RELEASE}-adaptive-rag-router-redis:6379/0": valkey_server.url,
        "/var/lib/rag-router": str(tmp_path),
        "/etc/rag-router": str(tmp_path),
    }
    (tmp_path / "router.toml").write_text(moved(configuration(found), at_home), encoding="utf-8")
    with ServiceProcess(tmp_path / "data", config=moved(configuration(found), at_home)) as service:
        decided = service.route()
        report = {"decision_id": decided["decision_id"], "metric": "quality", "value": 1}
        assert service.client.post("/v1/feedback", json=report).status_code == 202
    for component in ("export", "training"):
        arguments = [moved(one, at_home) for one in container(found, component)["args"]]
        job = subprocess.run(
            [sys.executable, "-c", "from training.cli import main; main()", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert job.returncode == 0, job.stdout + job.stderr
    assert list((tmp_path / "logs").glob("decisions/*/*/*.parquet"))
    # One decision proves nothing, which is no failure.
    (verdict,) = (tmp_path / "reports").glob("*/verdict.json")
    assert json.loads(verdict.read_text(encoding="utf-8"))["outcome"] == "refused"


@every_values
def test_the_command_lines_are_the_programs_own(
    values: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = documents(values)
    programs: dict[str, click.Group] = {"router": cli, "export": rag_policy, "training": rag_policy}
    for component in pod_templates(found).keys() & programs:
        one = container(found, component)
        for name, value in environment(one).items():
            monkeypatch.setenv(name, value)
        name, *arguments = one["args"]
        command = programs[component].get_command(click.Context(programs[component]), name)
        assert command is not None, f"no subcommand {name}"
        # Parses and converts every option, and runs nothing.
        command.make_context(name, arguments)
        assert "trainer" in one["image"] or component == "router"


@every_values
def test_one_run_of_a_job_at_a_time(values: str) -> None:
    jobs = [one for one in documents(values) if one["kind"] == "CronJob"]
    assert len(jobs) == (0 if values == "minimal" else 2)
    for job in jobs:
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        assert job["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0


@every_values
def test_there_is_time_to_stop(values: str) -> None:
    """Kubernetes kills once the preStop hook and the service together take longer."""
    found = documents(values)
    pod, router = pod_templates(found)["router"]["spec"], container(found, "router")
    pre_stop = router["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = int(options_of(router["args"])["grace"])
    flush = inspect.signature(EventLog.stop).parameters["timeout"].default
    assert pod["terminationGracePeriodSeconds"] >= pre_stop + grace + flush


def test_the_autoscalers_metric_is_what_the_documented_rule_makes() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    (block,) = (
        one for one in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "custom:" in one
    )
    (rule,) = yaml.safe_load(block)["rules"]["custom"]
    (metric,) = named(documents("production"), "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    series = rule["seriesQuery"].partition("{")[0]
    assert f"# TYPE {series} counter".encode() in Metrics().render()


def test_the_documented_first_values_are_sound() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    first = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0]
    assert set(yaml.safe_load(first)) >= {"image", "auth", "redis"}
    found = documents("default", f"--set-json={json.dumps(yaml.safe_load(first))}")
    assert tomllib.loads(configuration(found))["redis"]["password_env"] == "REDIS_PASSWORD"
