"""Two exports to object storage: one at a time, and one that was paused can do no harm."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis

from tests.object_storage import ObjectStore
from tests.stores import wait_until
from tests.training.log.test_export_crashes import add, check_exactly_once
from tests.training.log.test_log_folder import s3_location
from training.log.export import ExportBusyError, LogExport
from training.log.export_lock import StoreLease
from training.log.log_folder import LogFolder, log_folder

SHORT_S = 0.05


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
def place(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in object_store.environ.items():
        monkeypatch.setenv(name, value)
    return s3_location(object_store, uuid4().hex)


def export(client: redis.Redis, place: str, *, trim: bool = True) -> int:
    """A whole run; how many decisions it wrote."""
    with LogExport(client, place) as run:
        return run.run(trim=trim).decisions


def lease_is_over(client: redis.Redis) -> Callable[[], bool]:
    """Whether no lease is held; what stays is the run's number, without an end."""
    return lambda: all(client.pttl(key) == -1 for key in client.keys("{rag}:export:*"))


class Paused(LogFolder):
    """Does something else, once, just before or after the n-th write of the given file."""

    def __init__(self, folder: LogFolder, name: str, before: bool, meanwhile: Any) -> None:
        super().__init__(folder.filesystem, folder.root, str(folder))
        self._name, self._before, self._meanwhile = name, before, meanwhile

    def write_all(self, files: Any) -> None:
        for name, content in files:
            now = self._meanwhile is not None and self._name in name
            if now and self._before:
                self._other_things()
            super().write_all([(name, content)])
            if now and not self._before:
                self._other_things()

    def _other_things(self) -> None:
        meanwhile, self._meanwhile = self._meanwhile, None
        meanwhile()


def test_a_second_export_is_refused_while_the_first_runs(client: redis.Redis, place: str) -> None:
    """And told who holds the place, however that is reached; the lease ends with the run."""
    add(client, 0, 5)
    with LogExport(client, place):
        with pytest.raises(ExportBusyError, match=r"another export \(pid \d+ on .*\) is writing"):
            export(client, place)
        with pytest.raises(ExportBusyError, match="killed less than 30 s ago"):
            export(client, place.replace("?", "/?"))
        other = place.replace("?", "-other?")
        assert export(client, other, trim=False) == 5
    assert export(client, place) == 5


def test_the_lease_of_a_killed_export_expires(client: redis.Redis, place: str) -> None:
    """Its holder never came to give it back."""
    add(client, 0, 5)
    LogExport(client, place, lease_s=SHORT_S).__enter__()
    wait_until(lease_is_over(client))
    assert export(client, place) == 5
    check_exactly_once(place, 5)


def test_a_slow_export_that_nobody_overtook_goes_on(client: redis.Redis, place: str) -> None:
    """Its lease ran out during a long upload, and it takes it again."""
    add(client, 0, 5)
    with LogExport(client, place, lease_s=SHORT_S) as run:
        wait_until(lease_is_over(client))
        assert run.run(trim=True).decisions == 5
    check_exactly_once(place, 5)


def test_an_export_that_uploads_for_long_keeps_others_away(client: redis.Redis, place: str) -> None:
    """Each file takes half of the lease, all together several."""
    add(client, 0, 5)
    refused = 0

    class Slow(LogFolder):
        def write_all(self, files: Any) -> None:
            nonlocal refused
            for name, content in files:
                time.sleep(0.5)
                if "feedback" in name or "answers" in name:
                    with pytest.raises(ExportBusyError, match="is writing to"):
                        export(client, place)
                    refused += 1
                super().write_all([(name, content)])

    folder = log_folder(place)
    slow = Slow(folder.filesystem, folder.root, str(folder))
    with LogExport(client, slow, lease_s=1.0) as run:
        assert run.run().decisions == 5
    assert refused == 2
    check_exactly_once(place, 5)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("name", ["decisions/", "answers/", "-r1.json"])
@pytest.mark.parametrize("trim", [True, False])
def test_what_an_overtaken_export_still_writes_never_counts(
    client: redis.Redis, place: str, name: str, before: bool, trim: bool
) -> None:
    """It pauses around a write for longer than its lease; another one goes on from its state."""
    add(client, 0, 5)
    left = 3 if name == "-r1.json" and not before else 8

    def another() -> None:
        time.sleep(2 * SHORT_S)
        add(client, 5, 3)
        assert export(client, place, trim=trim) == left

    # Its first state is saved as it begins, before there is anything to overtake.
    folder = Paused(log_folder(place), name, before, None)
    with LogExport(client, folder, lease_s=SHORT_S) as run:
        folder._meanwhile = another
        with pytest.raises(ExportBusyError, match=r"another export has begun.*nothing is lost"):
            run.run(trim=trim)
    add(client, 8, 2)
    assert export(client, place, trim=trim) == 2
    check_exactly_once(place, 10)


def test_runs_of_one_destination_have_ever_greater_numbers(client: redis.Redis, place: str) -> None:
    """Also where the store has forgotten the last, as after a restore."""
    folder, keys = log_folder(place), LogExport(client, place)._keys
    numbers = []
    for after in (0, 0, 7, 0):
        lease = StoreLease(folder, client, keys, 30.0)
        lease.acquire()
        numbers.append(lease.next_run(after))
        lease.release()
    assert numbers == [1, 2, 8, 9]
    client.flushall()
    lease.acquire()
    assert lease.next_run(9) == 10
