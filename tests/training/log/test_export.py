"""Export: every event in the Parquet log exactly once."""

import asyncio
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
import redis
from click.testing import CliRunner

from policies.events import Event, FeedbackGiven, encode_event
from policies.store_keys import StoreKeys
from router.log.redis_store import RedisEventStore
from tests.event_factory import NOON, answer, decision, feedback
from tests.stores import StoreServer
from training.cli import main
from training.errors import EmptyLogError, InputError
from training.log.export import ExportBusyError, ExportReport, LogExport
from training.log.export_batch import DamagedEntry
from training.log.export_lock import LEASE_S, StoreLease
from training.log.log_files import read_log
from training.log.log_folder import log_folder
from training.log.store import connect

DAY = 86_400.0


@pytest.fixture
def client(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url) as client:
        yield client


def append(client: redis.Redis, events: Sequence[Event]) -> None:
    """Store the events as the service does."""
    url = f"unix://{client.connection_pool.connection_kwargs['path']}"

    async def run() -> None:
        store = RedisEventStore.from_url(url)
        await store.append(events)
        await store.close()

    asyncio.run(run())


def export(
    client: redis.Redis, directory: Path, *, batch: int = 10_000, trim: bool = False
) -> ExportReport:
    with LogExport(client, Path(directory), batch_entries=batch) as run:
        return run.run(trim=trim)


def export_command(client: redis.Redis, directory: Path, *options: str) -> str:
    """What `rag-policy export` prints."""
    store = f"unix://{client.connection_pool.connection_kwargs['path']}"
    arguments = ["export", "--from", store, "--to", str(directory), *options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def rows(directory: Path, kind: str, column: str = "decision_id") -> list[str]:
    """That column of all files of a kind, nothing dropped."""
    files = sorted((directory / kind).glob("day=*/**/*.parquet"))
    return [value for file in files for value in pq.ParquetFile(file).read()[column].to_pylist()]


def test_every_event_is_written_to_its_day(client: redis.Redis, tmp_path: Path) -> None:
    """Decisions, answers and feedback, each by its own time, and they read back equal."""
    append(client, [decision(1), answer(1), decision(2, at=NOON + DAY), feedback(1, at=NOON + DAY)])
    report = export(client, tmp_path)
    assert (report.decisions, report.answers, report.feedback, report.files) == (2, 1, 1, 4)
    assert sorted(path.name for path in (tmp_path / "decisions").iterdir()) == [
        "day=2026-11-22",
        "day=2026-11-23",
    ]
    assert [path.name for path in (tmp_path / "feedback").iterdir()] == ["day=2026-11-23"]
    log = read_log(tmp_path)
    assert log.decisions["decision_id"].to_pylist() == ["decision-000001", "decision-000002"]
    assert log.decisions["features"][0].as_py() == decision(1).features
    assert log.feedback["value"].to_pylist() == [1.0]


def test_a_later_run_adds_only_what_is_new(client: redis.Redis, tmp_path: Path) -> None:
    """And a run with nothing new writes nothing."""
    append(client, [decision(number) for number in range(25)])
    assert export(client, tmp_path, batch=10).decisions == 25
    assert export(client, tmp_path) == ExportReport()
    append(client, [decision(25), feedback(3)])
    report = export(client, tmp_path)
    assert (report.decisions, report.feedback) == (1, 1)
    assert rows(tmp_path, "decisions") == [f"decision-{number:06d}" for number in range(26)]


def test_a_run_that_ends_well_is_noted_for_the_service(client: redis.Redis, tmp_path: Path) -> None:
    """Also one that found nothing new; not one that was refused."""
    append(client, [decision(1)])

    def noted() -> float:
        return float(client.hget(StoreKeys().last_runs, "export") or 0.0)

    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        export(client, tmp_path / "file")
    assert noted() == 0.0
    export(client, tmp_path / "logs")
    first = noted()
    assert 0 <= time.time() - first < 60
    export(client, tmp_path / "logs")
    assert noted() > first


def test_pending_counts_what_a_run_will_read(client: redis.Redis, tmp_path: Path) -> None:
    """For the progress bar's length."""
    append(client, [decision(1), answer(1), feedback(1)])
    with LogExport(client, tmp_path) as run:
        assert run.pending() == 3
        run.run()
        assert run.pending() == 0


def test_a_log_without_any_decision_says_what_to_do(client: redis.Redis, tmp_path: Path) -> None:
    """And leaves the directory alone."""
    with pytest.raises(EmptyLogError, match="never had a decision: send queries"):
        export(client, tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def test_events_of_a_later_release_are_counted_and_never_trimmed(
    client: redis.Redis, tmp_path: Path
) -> None:
    """Unknown tags stay in the store, with all after them, and each run says so."""
    append(client, [decision(1)])
    newer = client.xadd("{rag}:decisions", {"e": msgspec.msgpack.encode({"type": "Newer"})})
    client.xadd("{rag}:decisions", {"e": b"\xc1"})
    append(client, [decision(2)])
    report = export(client, tmp_path, trim=True)
    assert (report.decisions, report.unknown, report.damaged) == (2, 1, 1)
    assert report.trimmed == 1
    assert client.xlen("{rag}:decisions") == 3
    held_back = {"decisions": newer.decode()}
    assert report.held_back == held_back
    assert export(client, tmp_path, trim=True) == ExportReport(held_back=held_back)
    said = export_command(client, tmp_path, "--trim")
    assert "trimming of decisions is held back since 20" in said
    assert f"by entry {newer.decode()}, an event of a later release" in said


def test_damaged_entries_are_set_aside_and_trimmed(client: redis.Redis, tmp_path: Path) -> None:
    """As they were in the store, so that trimming goes on and nothing is lost."""
    append(client, [decision(1)])
    ids = [client.xadd("{rag}:decisions", fields) for fields in ({"e": b"\xc1"}, {"f": b"1"})]
    append(client, [decision(2)])
    report = export(client, tmp_path, trim=True)
    assert (report.decisions, report.damaged, report.trimmed) == (2, 2, 4)
    assert client.xlen("{rag}:decisions") == 0
    (file,) = (tmp_path / "damaged" / "decisions").iterdir()
    entries = [
        msgspec.json.decode(line, type=DamagedEntry) for line in file.read_bytes().splitlines()
    ]
    assert [entry.id for entry in entries] == [entry_id.decode() for entry_id in ids]
    assert entries[0].event == b"\xc1"
    assert msgspec.msgpack.decode(entries[1].event) == [[b"f", b"1"]]


@pytest.mark.parametrize(
    ("made", "field", "value"),
    [
        (answer(2), "input_tokens", 2**63),
        (answer(2), "output_tokens", 2**64 - 1),
        (decision(2), "schema", 2**31),
        (feedback(2), "schema", 2**40),
    ],
)
def test_a_number_that_no_column_holds_damages_its_event_alone(
    client: redis.Redis, tmp_path: Path, made: Event, field: str, value: int
) -> None:
    """Whoever sent it, the log around it is exported."""
    append(client, [decision(1), feedback(1)])
    stream = "feedback" if isinstance(made, FeedbackGiven) else "decisions"
    fields = msgspec.msgpack.decode(encode_event(made))
    client.xadd(f"{{rag}}:{stream}", {"e": msgspec.msgpack.encode({**fields, field: value})})
    append(client, [decision(3), feedback(3)])
    report = export(client, tmp_path)
    assert (report.decisions, report.feedback, report.damaged) == (2, 2, 1)


def test_what_another_export_has_trimmed_is_said_to_be_missing(
    client: redis.Redis, tmp_path: Path
) -> None:
    """Once, with the number; what the run itself trims is not missing."""
    append(client, [decision(number) for number in range(10)])
    assert export(client, tmp_path / "a").missed == export(client, tmp_path / "b").missed == 0
    append(client, [decision(10), decision(11), feedback(3)])
    assert export(client, tmp_path / "a", trim=True).missed == 0
    append(client, [decision(12)])
    assert "WARNING: 3 entries had been removed" in export_command(client, tmp_path / "b")
    append(client, [decision(13)])
    for place in ("a", "b"):
        assert export(client, tmp_path / place).missed == 0
    with LogExport(client, tmp_path / "b") as run:
        assert run.pending() == 0


def test_an_event_whose_nested_fields_are_damaged_is_left_out_alone(
    client: redis.Redis, tmp_path: Path
) -> None:
    """Those around it are written."""
    fields = msgspec.msgpack.decode(encode_event(decision(2)))
    append(client, [decision(1)])
    client.xadd("{rag}:decisions", {"e": msgspec.msgpack.encode({**fields, "weights": [1]})})
    client.xadd("{rag}:decisions", {"other": b"1"})
    append(client, [decision(3)])
    report = export(client, tmp_path)
    assert (report.decisions, report.unknown, report.damaged) == (2, 0, 2)
    assert rows(tmp_path, "decisions") == ["decision-000001", "decision-000003"]


def test_a_backlog_is_committed_in_batches_of_bounded_size(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large its events are: so many bytes at once, and one reply of the store more."""
    monkeypatch.setattr("training.log.export._BATCH_BYTES", 100_000)
    monkeypatch.setattr("training.log.export_streams._FETCHED_BYTES", 20_000)
    large = [msgspec.structs.replace(decision(number), query="q" * 8_000) for number in range(600)]
    append(client, large)
    report = export(client, tmp_path)
    assert report.decisions == 600
    sizes = [
        pq.ParquetFile(file).metadata.num_rows
        for file in sorted((tmp_path / "decisions").glob("**/*.parquet"))
    ]
    assert max(sizes[1:]) <= 14  # after the first reply, whose size nobody could know
    assert rows(tmp_path, "decisions") == [event.decision_id for event in large]


def test_trimming_removes_what_is_written_and_nothing_else(
    client: redis.Redis, tmp_path: Path
) -> None:
    """What arrives later is exported by the next run."""
    append(client, [decision(number) for number in range(30)] + [feedback(1)])
    assert export(client, tmp_path, batch=7, trim=True).trimmed == 31
    assert client.xlen("{rag}:decisions") == 0
    assert export(client, tmp_path, trim=True) == ExportReport()
    append(client, [decision(30)])
    assert export(client, tmp_path).decisions == 1
    assert len(rows(tmp_path, "decisions")) == 31


def test_a_full_store_is_exported_and_trimmed(
    store_server: StoreServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first export of all, into a directory; and a lease, as object storage needs one."""
    with redis.Redis.from_url(store_server.url) as client:
        append(client, [decision(number) for number in range(300)])
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("more", "x")
        lease = StoreLease(log_folder(tmp_path), client, StoreKeys(), LEASE_S)
        lease.acquire()
        assert lease.next_run(0) == 1
        lease.confirm()
        lease.release()
        report = export(client, tmp_path / "logs", trim=True)
    assert (report.decisions, report.trimmed) == (300, 300)
    assert "isn't noted in the store" in capsys.readouterr().err


def test_two_exports_into_one_directory_are_refused(client: redis.Redis, tmp_path: Path) -> None:
    """The second is told the first's pid; another directory is free."""
    append(client, [decision(1)])
    with LogExport(client, tmp_path / "a"):
        with pytest.raises(ExportBusyError, match=rf"another export \(pid {os.getpid()}\)"):
            export(client, tmp_path / "a")
        export(client, tmp_path / "b")
    assert export(client, tmp_path / "a").decisions == 1


def test_another_stores_log_isnt_mixed_in(client: redis.Redis, tmp_path: Path) -> None:
    """Stream ids of two stores can't be compared, so positions would be wrong."""
    append(client, [decision(1)])
    export(client, tmp_path)
    client.flushall()
    append(client, [decision(2)])
    with pytest.raises(InputError, match="holds the log of another store"):
        export(client, tmp_path)


def test_exported_files_without_their_state_are_never_removed(
    client: redis.Redis, tmp_path: Path
) -> None:
    """They may be the only copy of what was trimmed."""
    append(client, [decision(1)])
    export(client, tmp_path, trim=True)
    (tmp_path / "export.json").unlink()
    with pytest.raises(InputError, match=r"not the export\.json"):
        export(client, tmp_path)
    assert rows(tmp_path, "decisions") == ["decision-000001"]


def test_a_damaged_state_is_named(client: redis.Redis, tmp_path: Path) -> None:
    """With the file's path."""
    append(client, [decision(1)])
    export(client, tmp_path)
    (tmp_path / "export.json").write_text("{")
    with pytest.raises(InputError, match=r"export\.json: can't be read"):
        export(client, tmp_path)


def test_a_directory_that_is_a_file_is_named(client: redis.Redis, tmp_path: Path) -> None:
    """The error says what to do."""
    append(client, [decision(1)])
    (tmp_path / "logs").write_text("")
    with pytest.raises(InputError, match=r"logs.*(name another with --to|export to another)"):
        export(client, tmp_path / "logs")


def test_other_parts_of_the_log_are_left_alone(client: redis.Redis, tmp_path: Path) -> None:
    """A replayed part in the same directory isn't an export's leftover."""
    other = tmp_path / "decisions" / "day=2026-11-22" / "replay-0.parquet"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"whatever")
    append(client, [decision(1)])
    export(client, tmp_path)
    export(client, tmp_path)
    assert other.exists()


def test_a_store_killed_during_an_export_is_picked_up_again(
    valkey_server: StoreServer, tmp_path: Path
) -> None:
    """The run fails; the next one, on the restarted store, completes the log."""
    with connect(valkey_server.url) as client:
        append(client, [decision(number) for number in range(200)])

        def kill_midway(done: int) -> None:
            valkey_server.kill()

        with (
            pytest.raises(redis.ConnectionError),
            LogExport(client, tmp_path, batch_entries=20) as run,
        ):
            run.run(advance=kill_midway)
        assert json.loads((tmp_path / "export.json").read_text())["entries"] == 20
        valkey_server.start()
        export(client, tmp_path)
    assert rows(tmp_path, "decisions") == [f"decision-{number:06d}" for number in range(200)]
