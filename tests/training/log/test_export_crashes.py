"""Exactly once: a real process is killed at every step, and at many random moments."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow.parquet as pq
import pytest
import redis

from policies.events import encode_event
from tests.event_factory import NOON, answer, decision, feedback
from tests.object_storage import ObjectStore
from tests.training.log.crashing_export import (
    LEASE_S,
    Job,
    export_in_a_process,
    export_killed_after,
)
from tests.training.log.test_log_folder import s3_location
from training.log.event_tables import KINDS
from training.log.export import ExportBusyError, LogExport
from training.log.log_files import log_parts
from training.log.log_folder import log_folder

DAY = 86_400.0
KILLED = -signal.SIGKILL


@pytest.fixture(params=["directory", "s3"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """A function that names a new, empty destination each time."""
    if request.param == "directory":
        return lambda: str(tmp_path / uuid4().hex)
    store: ObjectStore = request.getfixturevalue("object_store")
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    for name, value in store.environ.items():
        monkeypatch.setenv(name, value)
    return lambda: s3_location(store, uuid4().hex)


def add(client: redis.Redis, first: int, count: int) -> None:
    """Decisions over two days, their answers, and feedback on them."""
    with client.pipeline(transaction=False) as pipeline:
        for number in range(first, first + count):
            made = decision(number, at=NOON + number % 2 * DAY)
            for stream, event in (
                ("decisions", made),
                ("decisions", answer(number)),
                ("feedback", feedback(number)),
            ):
                pipeline.xadd(f"{{rag}}:{stream}", {"e": encode_event(event)})
        pipeline.execute()


def finish(url: str, destination: str, *, trim: bool) -> None:
    """A run that nothing disturbs, once the killed one's lease is over."""
    deadline = time.monotonic() + 30.0
    with redis.Redis.from_url(url) as client:
        while True:
            try:
                with LogExport(client, destination, batch_entries=20, lease_s=LEASE_S) as run:
                    run.run(trim=trim)
                return
            except ExportBusyError:
                assert time.monotonic() < deadline


def check_exactly_once(destination: str, made: int) -> None:
    """Every event is in one row of one file, and nothing else is there."""
    expected = [f"decision-{number:06d}" for number in range(made)]
    folder = log_folder(destination)
    for kind in KINDS:
        ids = []
        for name in log_parts(folder, kind):
            with folder.open(name) as file:
                ids += pq.ParquetFile(file).read(["decision_id"])["decision_id"].to_pylist()
        assert sorted(ids) == expected
    names = [file.name for file in folder.files()]
    assert not [name for name in names if name.endswith(".tmp")]
    assert len([name for name in names if name.startswith("export") and "json" in name]) == 1


def credentials() -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))


@pytest.mark.slow
def test_killed_at_any_step_an_export_is_completed_by_the_next(
    valkey_url: str, new_place: Callable[[], str]
) -> None:
    """Before and after every sync, rename, upload and change of the store, trimming included."""
    events = 8
    for fatal in range(1, 1_000):
        with redis.Redis.from_url(valkey_url) as client:
            client.flushall()
            add(client, 0, events)
            destination = new_place()
            job = Job(valkey_url, destination, trim=True, fatal=fatal, environ=credentials())
            status = export_in_a_process(job)
            assert status in (0, KILLED)
            finish(valkey_url, destination, trim=True)
            check_exactly_once(destination, events)
            assert client.xlen("{rag}:decisions") == client.xlen("{rag}:feedback") == 0
        if status == 0:
            break
    assert fatal > 20


@pytest.mark.slow
def test_killed_at_random_moments_again_and_again(
    valkey_url: str, new_place: Callable[[], str]
) -> None:
    """One log, thirty kills, new events in between; seeded, over the length of a whole run."""
    rng = np.random.default_rng(20261122)
    destination = new_place()
    job = Job(valkey_url, destination, trim=True, environ=credentials())
    with redis.Redis.from_url(valkey_url) as client:
        add(client, 0, 30)
    began = time.monotonic()
    assert export_in_a_process(job) == 0
    whole = time.monotonic() - began
    made, killed = 30, 0
    for _ in range(30):
        with redis.Redis.from_url(valkey_url) as client:
            add(client, made, 30)
        made += 30
        killed += export_killed_after(job, float(rng.uniform(0.0, whole))) == KILLED
    finish(valkey_url, destination, trim=True)
    check_exactly_once(destination, made)
    assert killed >= 8
