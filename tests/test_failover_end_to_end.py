"""The real service through a failover of its store: nobody notices, nothing accepted is lost."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from policies.artifact import write_artifact
from policies.encoders import Encoder
from tests.clusters import PASSWORD, SENTINEL_PASSWORD, RunningCluster, WatchedPrimary
from tests.router.api.test_policies import always
from tests.service_load import Load, running
from tests.service_process import ServiceProcess
from tests.stores import wait_until
from training.cli import main

SECRETS = {"STORE_PASSWORD": PASSWORD, "SENTINEL_PASSWORD": SENTINEL_PASSWORD}
# Requests before the primary is killed, and after another has taken its place.
_REQUESTS = 100


class Reports(Load):
    """Asks for decisions and reports an outcome of each."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.decided: list[str] = []
        self.reported: list[str] = []

    def send(self, client: httpx.Client) -> None:
        decided = client.post("/v1/route", json={"query": "Who wrote Emma?"})
        if not decided.is_success:
            self.failures.append(decided.text)
            return
        self.decided.append(decided.json()["decision_id"])
        report = {"decision_id": self.decided[-1], "metric": "quality", "value": 1.0}
        reported = client.post("/v1/feedback", json=report)
        if reported.status_code != httpx.codes.ACCEPTED:
            self.failures.append(reported.text)
            return
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
    services: list[ServiceProcess], kill: Callable[[], None], repair: Callable[[], None]
) -> list[Reports]:
    """Keep asking before, while and after the store's primary is gone; what came of it."""
    loads = [Reports(service.url) for service in services]

    def all_reported(count: int) -> bool:
        return all(len(load.reported) >= count for load in loads)

    with running(loads):
        wait_until(lambda: all_reported(_REQUESTS))
        kill()
        wait_until(lambda: all(log_metric(one, "store_up") == 0.0 for one in services))
        repair()
        wait_until(lambda: all(log_metric(one, "store_up") == 1.0 for one in services))
        more = max(len(load.reported) for load in loads) + _REQUESTS
        wait_until(lambda: all_reported(more))
    wait_until(lambda: all(log_metric(one, "spool_bytes") == 0.0 for one in services))
    return loads


def rag_policy(*command: object) -> None:
    arguments = [str(argument) for argument in command]
    result = CliRunner().invoke(main, arguments, env=SECRETS, catch_exceptions=False)
    assert result.exit_code == 0, result.output


def exported(url: str, directory: Path, *options: str) -> dict[str, Counter[str]]:
    """By kind, how often each id is in the exported files, nothing dropped."""
    rag_policy("export", "--from", url, "--to", directory, *options)
    found: dict[str, Counter[str]] = {}
    for kind, column in (("decisions", "decision_id"), ("feedback", "feedback_id")):
        files = sorted((directory / kind).glob("**/*.parquet"))
        found[kind] = Counter(
            value for file in files for value in pq.ParquetFile(file).read()[column].to_pylist()
        )
    return found


def assert_nothing_lost(loads: list[Reports], found: dict[str, Counter[str]]) -> None:
    assert [load.failures for load in loads] == [[] for _ in loads]
    assert found["feedback"] == Counter(each for load in loads for each in load.reported)
    assert found["decisions"] == Counter(each for load in loads for each in load.decided)


@pytest.mark.slow
def test_a_clusters_primary_dies_and_every_accepted_event_is_exported_once(
    tmp_path: Path, redis_cluster: RunningCluster, encoder: Encoder
) -> None:
    """Two replicas over three shards; the dead node comes back as a replica of its successor, and
    a policy is promoted there.
    """
    config = f'[redis]\nurl = "{redis_cluster.url}"\nshards = 3\nwait_replicas = 1\n'
    with (
        ServiceProcess(tmp_path / "one", config=config) as one,
        ServiceProcess(tmp_path / "other", config=config) as other,
    ):
        primary = redis_cluster.primary_of("{rag}:decisions")
        loads = load_through([one, other], primary.kill, primary.start)
        assert log_metric(one, "spooled_total") > 0
        trace = other.trace(loads[0].decided[0]).json()
        assert [given["feedback_id"] for given in trace["feedback"]] == loads[0].reported[:1]
        policy = always("hybrid", encoder)
        write_artifact(policy, tmp_path / "policy")
        store = ("--store", redis_cluster.url)
        rag_policy("promote", "--policy", tmp_path / "policy", "--override", "a test", *store)
        for service, load in zip((one, other), loads, strict=True):
            decision = service.route()
            assert decision["policy"]["version"] == policy.version  # type: ignore[index]
            load.decided.append(str(decision["decision_id"]))
    found = exported(redis_cluster.url, tmp_path / "logs")
    assert_nothing_lost(loads, found)


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
        loads = load_through([service], watched_primary.primary().kill, lambda: None)
    options = ("--password-env", "STORE_PASSWORD", "--sentinel-password-env", "SENTINEL_PASSWORD")
    found = exported(watched_primary.url, tmp_path / "logs", *options)
    assert_nothing_lost(loads, found)
