"""The loop with its log on object storage: exported to a real S3 server, learned from there."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from policies.events import encode_event
from tests.object_storage import ObjectStore
from tests.training.log.test_log_folder import s3_location
from tests.training.test_cli import rag_policy, ran, refused
from tests.training.worlds import outcome_rows, write_rows
from training.log.event_tables import KINDS
from training.log.log_files import log_parts
from training.log.log_folder import log_folder


@pytest.fixture
def place(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in object_store.environ.items():
        monkeypatch.setenv(name, value)
    return s3_location(object_store, uuid4().hex)


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


def fill(client: redis.Redis, tmp_path: Path) -> None:
    """Two thousand decisions with known propensities, and feedback on them."""
    from policies.settings import PolicySettings
    from training.log.replay import replay, uniform_logger
    from training.tables.outcomes import read_outcomes
    from training.tables.query_features import query_features

    table = read_outcomes([write_rows(tmp_path / "table.jsonl.gz", outcome_rows(800, 0))])
    features = query_features(table.queries, PolicySettings().encoder)
    events = replay(
        table,
        features,
        uniform_logger(table),
        n=2_400,
        seed=3,
        objective="quality",
        weights={"quality": 1.0},
        tenants=[f"tenant/{row % 2}" for row in range(len(table))],
    )
    with client.pipeline(transaction=False) as pipeline:
        for decision, values in events:
            pipeline.xadd("{rag}:decisions", {"e": encode_event(decision)})
            for value in values:
                pipeline.xadd("{rag}:feedback", {"e": encode_event(value)})
        pipeline.execute()


def test_the_loop_closes_on_object_storage(
    client: redis.Redis, valkey_url: str, place: str, tmp_path: Path
) -> None:
    """What is exported there trains and judges as what is exported to a directory."""
    fill(client, tmp_path)
    local = ran("export", "--from", valkey_url, "--to", tmp_path / "logs")
    stored = ran("export", "--from", valkey_url, "--to", place, "--trim")
    assert {**stored, "trimmed": 0} == local
    assert stored["trimmed"] == stored["decisions"] + stored["feedback"]
    for kind in KINDS:
        there, here = (
            {Path(name).parent for name in log_parts(log_folder(at), kind)}
            for at in (place, tmp_path / "logs")
        )
        assert there == here
    found = {}
    found = []
    for name, logs in (("local", tmp_path / "logs"), ("stored", place)):
        trained = ran("train", "--logs", logs, "--to", tmp_path / name, "--holdout", 0.3)
        [judged] = ran("evaluate", "--policy", tmp_path / name, "--logs", logs)["objectives"]
        report = ran("report", "--logs", logs)
        rows = trained["training"]["rows"]
        found.append((rows, judged["estimates"], judged["advantage"], report["total"]))
    assert found[0] == found[1]
    assert ran("export", "--from", valkey_url, "--to", place)["files"] == 0


def test_a_log_that_isnt_there_is_said_to_be_missing(place: str, tmp_path: Path) -> None:
    """With the location as it was given, without its settings."""
    result = rag_policy("train", "--logs", place, "--to", tmp_path / "p")
    refused(result, str(log_folder(place)), "no such log directory")
    assert "endpoint_override" not in result.stderr


def test_a_location_that_cant_be_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    """As wrong use, and the credentials in it aren't shown."""
    for words in (["train", "--to", tmp_path / "p", "--logs"], ["export", "--to"]):
        result = rag_policy(*words, "s3://key:secret@bucket/logs")
        refused(result, "s3://bucket/logs", "leave the credentials out")
        assert "secret@" not in result.stderr
        refused(rag_policy(*words, "ftp://host/logs"), "ftp:// is no place for a log")


def test_a_storage_that_doesnt_answer_fails_the_command(
    client: redis.Redis, valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line that names it and what to look at; the store's entries stay."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    fill(client, tmp_path)
    place = "s3://bucket/logs?endpoint_override=127.0.0.1:1&scheme=http"
    result = rag_policy("export", "--from", valkey_url, "--to", place, "--trim")
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert "s3://bucket/logs can't be used" in line
    assert client.xlen("{rag}:decisions") == 2_400
