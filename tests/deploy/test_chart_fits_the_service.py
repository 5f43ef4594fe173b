"""What the chart runs and promises, held against the real service, command line and store."""

import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
import redis
import yaml

from router.cli import cli
from router.log.event_log import EventLog
from router.metrics import Metrics
from tests.conftest import ROOT
from tests.dask_cluster import free_port
from tests.deploy.kubernetes_tools import (
    CHART,
    RELEASE,
    VALUES,
    Document,
    container,
    documents,
    environment,
    helm,
    named,
    options_of,
    pod_templates,
    program,
    rendered,
)
from tests.service_process import ServiceProcess
from tests.stores import StoreServer, binary_of, wait_until
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
    assert read.pop("redis") == {"url": f"redis://{RELEASE}-adaptive-rag-router-redis:6379/0"}
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


def moved(text: str, places: Mapping[str, str]) -> str:
    """A text in which one's own places stand for a pod's."""
    for there, here in places.items():
        text = text.replace(there, here)
    return text


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


def test_the_network_policies_join_the_service_and_the_bundled_store() -> None:
    found = documents("default")
    labels = pod_templates(found)["redis"]["metadata"]["labels"]
    for suffix in ("", "-jobs"):
        egress = named(found, "NetworkPolicy", suffix)["spec"]["egress"]
        (rule,) = (one for one in egress if {"protocol": "TCP", "port": 6379} in one["ports"])
        (peer,) = rule["to"]
        assert peer["podSelector"]["matchLabels"].items() <= labels.items()


@contextmanager
def bundled_store(found: list[Document], directory: Path, password: str) -> Iterator[int]:
    """The port of the bundled store, run by the pod's own command line; ended by its id."""
    binaries = directory / "bin"
    binaries.mkdir()
    (binaries / "valkey-server").symlink_to(binary_of("valkey"))
    client = program("redis-cli", "apt-get install redis-tools")
    (binaries / "valkey-cli").symlink_to(client)
    port, pod = free_port(), container(found, "redis")
    text = named(found, "ConfigMap", "-redis")["data"]["valkey.conf"]
    text = text.replace("port 6379", f"port {port}\nbind 127.0.0.1").replace(
        "/data", str(directory)
    )
    (directory / "valkey.conf").write_text(text, encoding="utf-8")
    command = [
        part.replace("/etc/valkey", str(directory)) for part in (*pod["command"], *pod["args"])
    ]
    environ = {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        **({"REDISCLI_AUTH": password} if "REDISCLI_AUTH" in environment(pod) else {}),
    }
    probe = shlex.join(pod["readinessProbe"]["exec"]["command"]).replace(
        "valkey-cli", f"valkey-cli -p {port}"
    )
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    try:
        wait_until(
            lambda: subprocess.run(probe, shell=True, env=environ, check=False).returncode == 0
        )
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize("secret", ["", "store"])
def test_the_bundled_store_keeps_what_it_acknowledges(tmp_path: Path, secret: str) -> None:
    password = "9f2c-a1" if secret else ""
    found = documents("minimal", f"--set=redis.existingSecret={secret}")
    with (
        bundled_store(found, tmp_path, password) as port,
        redis.Redis(port=port, password=password or None) as client,
    ):
        kept = client.config_get("append*", "maxmemory*", "save", "dir")
        assert kept["appendonly"] == "yes"
        assert kept["appendfsync"] == "always"
        assert kept["maxmemory-policy"] == "noeviction"
        assert int(kept["maxmemory"]) == 1536 * 2**20
        assert (tmp_path / kept["appenddirname"]).is_dir()
        if secret:
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(port=port).ping()


def test_the_chart_can_be_packed_and_used_from_the_package(tmp_path: Path) -> None:
    """The links to rules and dashboards are files in it."""
    packed = helm("package", str(CHART), "--destination", str(tmp_path))
    assert packed.returncode == 0, packed.stderr
    (package,) = tmp_path.glob("*.tgz")
    again = helm("template", RELEASE, str(package), *VALUES["production"])
    assert again.stdout == rendered("production"), again.stderr
