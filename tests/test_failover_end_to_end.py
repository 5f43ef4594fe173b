"""The real service through a failover of its store: nobody notices, nothing accepted is lost."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from tests.clusters import PASSWORD, SENTINEL_PASSWORD, RunningCluster, WatchedPrimary
from tests.service_process import ServiceProcess
from tests.stores import wait_until
from training.cli import main

SECRETS = {"STORE_PASSWORD": PASSWORD, "SENTINEL_PASSWORD": SENTINEL_PASSWORD}
# Requests before the primary is killed, and after another has taken its place.
_REQUESTS = 100


class Load(threading.Thread):
    """Asks for decisions and reports an outcome of each, until told to stop."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.stopping = threading.Event()
        self.failures: list[str] = []
        self.decided: list[str] = []
        self.reported: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=20.0) as client:
            while not self.stopping.is_set():
                decided = client.post("/v1/route", json={"query": "Who wrote Emma?"})
                if not decided.is_success:
                    self.failures.append(decided.text)
                    continue
                self.decided.append(decided.json()["decision_id"])
                report = {"decision_id": self.decided[-1], "metric": "quality", "value": 1.0}
                reported = client.post("/v1/feedback", json=report)
                if reported.status_code != httpx.codes.ACCEPTED:
                    self.failures.append(reported.text)
                    continue
                self.reported += reported.json()["feedback_ids"]


def log_metric(service: ServiceProcess, name: str) -> float:
    text = service.client.get("/metrics").text
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return samples[f"rag_router_log_{name}"]


def load_through(
    service: ServiceProcess, kill: Callable[[], None], repair: Callable[[], None]
) -> Load:
    """Keep asking before, while and after the store's primary is gone; what came of it."""
    load = Load(service.url)
    load.start()
    try:
        wait_until(lambda: len(load.reported) >= _REQUESTS)
        kill()
        wait_until(lambda: log_metric(service, "store_up") == 0.0)
        repair()
        wait_until(lambda: log_metric(service, "store_up") == 1.0)
        more = len(load.reported) + _REQUESTS
        wait_until(lambda: len(load.reported) >= more)
    finally:
        load.stopping.set()
        load.join()
    wait_until(lambda: log_metric(service, "spool_bytes") == 0.0)
    return load


def exported(url: str, directory: Path, *options: str) -> dict[str, Counter[str]]:
    """By kind, how often each id is in the exported files, nothing dropped."""
    command = ["export", "--from", url, "--to", str(directory), *options]
    result = CliRunner().invoke(main, command, env=SECRETS, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Counter[str]] = {}
    for kind, column in (("decisions", "decision_id"), ("feedback", "feedback_id")):
        files = sorted((directory / kind).glob("**/*.parquet"))
        found[kind] = Counter(
            value for file in files for value in pq.ParquetFile(file).read()[column].to_pylist()
        )
    return found


def assert_nothing_lost(load: Load, found: dict[str, Counter[str]]) -> None:
    assert load.failures == []
    assert found["feedback"] == Counter(load.reported)
    assert found["decisions"] == Counter(load.decided)


@pytest.mark.slow
def test_a_clusters_primary_dies_and_every_accepted_event_is_exported_once(
    tmp_path: Path, redis_cluster: RunningCluster
) -> None:
    """Sharded over three primaries; the dead one comes back as a replica of its successor."""
    config = f'[redis]\nurl = "{redis_cluster.url}"\nshards = 3\nwait_replicas = 1\n'
    with ServiceProcess(tmp_path / "data", config=config) as service:
        primary = redis_cluster.primary_of("{rag}:decisions")
        load = load_through(service, primary.kill, primary.start)
        assert log_metric(service, "spooled_total") > 0
        trace = service.trace(load.decided[0]).json()
        assert [given["feedback_id"] for given in trace["feedback"]] == load.reported[:1]
    found = exported(redis_cluster.url, tmp_path / "logs")
    assert_nothing_lost(load, found)


@pytest.mark.slow
def test_sentinels_replace_the_primary_and_every_accepted_event_is_exported_once(
    tmp_path: Path, watched_primary: WatchedPrimary
) -> None:
    """With passwords for both; a second replica is left, so nobody has to repair anything."""
    config = (
        f'[redis]\nurl = "{watched_primary.url}"\nwait_replicas = 1\n'
        'password_env = "STORE_PASSWORD"\nsentinel_password_env = "SENTINEL_PASSWORD"\n'
    )
    with ServiceProcess(tmp_path / "data", config=config, environ=SECRETS) as service:
        load = load_through(service, watched_primary.primary().kill, lambda: None)
    options = ("--password-env", "STORE_PASSWORD", "--sentinel-password-env", "SENTINEL_PASSWORD")
    found = exported(watched_primary.url, tmp_path / "logs", *options)
    assert_nothing_lost(load, found)
