"""Rows as files: by day and tenant, under names that no tenant can abuse."""

from pathlib import Path
from urllib.parse import unquote

import msgspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from policies.events import DecisionMade
from tests.event_factory import NOON, answer, decision, feedback
from training.log.event_tables import answers_table, decisions_table, feedback_table
from training.log.log_files import read_log
from training.log.parts import part_files, write_parquet, write_part

DAY = 86_400.0


def of_tenant(number: int, tenant: str, *, at: float = NOON) -> DecisionMade:
    return msgspec.structs.replace(decision(number, at=at), tenant=tenant)


def folders(events: list[DecisionMade], *, tenant_folders: int = 32) -> list[str]:
    """The folders that the events' files lie in."""
    files = part_files(decisions_table(events), "decisions", "part", tenant_folders=tenant_folders)
    return [name.removesuffix("/part.parquet").removeprefix("decisions/") for name, _ in files]


def test_rows_lie_in_the_folder_of_their_day_and_tenant(tmp_path: Path) -> None:
    """In their order."""
    events = [
        of_tenant(1, "b"),
        of_tenant(2, "a", at=NOON + DAY),
        of_tenant(3, "a"),
        of_tenant(4, "b"),
    ]
    files = write_part(decisions_table(events), tmp_path, "decisions", "part-1")
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "decisions/day=2026-11-22/tenant=a/part-1.parquet",
        "decisions/day=2026-11-22/tenant=b/part-1.parquet",
        "decisions/day=2026-11-23/tenant=a/part-1.parquet",
    ]
    assert pq.ParquetFile(files[1]).read()["decision_id"].to_pylist() == [
        "decision-000001",
        "decision-000004",
    ]


def test_what_has_no_tenant_lies_by_day(tmp_path: Path) -> None:
    """Answers and feedback don't carry one."""
    files = write_part(answers_table([answer(1)]), tmp_path, "answers", "part-1")
    files += write_part(feedback_table([feedback(1)]), tmp_path, "feedback", "part-1")
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "answers/day=2026-11-22/part-1.parquet",
        "feedback/day=2026-11-22/part-1.parquet",
    ]


def test_no_rows_make_no_file() -> None:
    assert folders([]) == []


def test_decisions_of_no_tenant_lie_where_hive_puts_nulls() -> None:
    """An empty folder name would be lost on the way through object storage."""
    assert folders([of_tenant(1, "")]) == ["day=2026-11-22/tenant=__HIVE_DEFAULT_PARTITION__"]


@pytest.mark.parametrize(
    "tenant", ["../x", "a/b", "=", "..", ".", "a b", "100%", "tenant=a", "Ünïcode", "\x00", "\\"]
)
def test_no_tenants_name_leaves_its_folder(tenant: str, tmp_path: Path) -> None:
    """It is one path component, from which the name can be had back."""
    [folder] = folders([of_tenant(1, tenant)])
    day, escaped = folder.split("/")
    assert day == "day=2026-11-22"
    assert unquote(escaped.removeprefix("tenant=")) == tenant
    [file] = write_part(decisions_table([of_tenant(1, tenant)]), tmp_path, "decisions", "a")
    assert file.resolve().parent == tmp_path.resolve() / "decisions" / day / escaped
    assert read_log(tmp_path).decisions["tenant"].to_pylist() == [tenant]


@pytest.mark.parametrize("tenant", ["__other__", "t" * 250, "Ü" * 100])
def test_a_name_that_cant_be_a_folder_shares_one(tenant: str, tmp_path: Path) -> None:
    """Too long for a file system, or that of the shared folder itself."""
    assert folders([of_tenant(1, tenant)]) == ["day=2026-11-22/tenant=__other__"]
    write_part(decisions_table([of_tenant(1, tenant)]), tmp_path, "decisions", "a")
    assert read_log(tmp_path).decisions["tenant"].to_pylist() == [tenant]


def test_names_that_differ_in_case_alone_never_overwrite_each_other() -> None:
    """Some file systems take their folders for one."""
    found = folders([of_tenant(1, "acme"), of_tenant(2, "ACME"), of_tenant(3, "acme")])
    assert found == ["day=2026-11-22/tenant=__other__", "day=2026-11-22/tenant=acme"]


def test_ten_thousand_tenants_dont_make_ten_thousand_files(tmp_path: Path) -> None:
    """The largest have folders of their own, the rest share one, and no row is lost."""
    events = [of_tenant(number, f"tenant-{number}") for number in range(10_000)]
    events += [of_tenant(10_000 + number, f"tenant-{number % 3}") for number in range(9)]
    files = write_part(decisions_table(events), tmp_path, "decisions", "a", tenant_folders=3)
    assert [file.parent.name for file in files] == [
        "tenant=__other__",
        "tenant=tenant-0",
        "tenant=tenant-1",
        "tenant=tenant-2",
    ]
    decisions = read_log(tmp_path).decisions
    found = dict(
        zip(decisions["decision_id"].to_pylist(), decisions["tenant"].to_pylist(), strict=True)
    )
    assert found == {event.decision_id: event.tenant for event in events}


def test_tenants_can_be_left_out_of_the_path() -> None:
    """All share a folder then."""
    assert folders([of_tenant(1, "a"), of_tenant(2, "b")], tenant_folders=0) == [
        "day=2026-11-22/tenant=__other__"
    ]


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_time_that_cant_be_doesnt_stop_an_export(at: float) -> None:
    """The row is kept, apart; whoever reads it is told."""
    [folder] = folders([of_tenant(1, "a", at=at)])
    assert folder == "day=__HIVE_DEFAULT_PARTITION__/tenant=a"


def test_other_readers_find_the_partitions(tmp_path: Path) -> None:
    """The layout is Hive's, as DuckDB, Spark and pyarrow's own datasets read it."""
    events = [of_tenant(1, "a/b"), of_tenant(2, "")]
    write_part(decisions_table(events), tmp_path, "decisions", "a")
    parts = ds.HivePartitioning(pa.schema({"day": pa.string(), "tenant": pa.string()}))
    found = [
        ds.get_partition_keys(fragment.partition_expression)
        for fragment in ds.dataset(tmp_path / "decisions", partitioning=parts).get_fragments()
    ]
    assert sorted(found, key=str) == [
        {"day": "2026-11-22", "tenant": "a/b"},
        {"day": "2026-11-22", "tenant": None},
    ]


def test_a_written_table_is_there_whole(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2, 3]})
    write_parquet(table, tmp_path / "made" / "a.parquet")
    assert pq.ParquetFile(tmp_path / "made" / "a.parquet").read().equals(table)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["a.parquet"]
