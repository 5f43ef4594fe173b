"""A run: what is new, changed, unchanged and gone; what can't be read; and where the files are."""

import gzip
import json
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from policies.encoders import Encoder
from policies.errors import SettingsError
from router.indexing.index_run import IndexReport, IndexRun, Root
from router.indexing.memory_index import MemoryIndex
from router.indexing.passage_index import NewPassage
from router.indexing.passages import Cutting, PassageCutter
from router.indexing.sources import find_sources, root_location
from router.retrieval.memory_retriever import MemoryRetriever


class Bench:
    """An index in memory, and a directory to fill it from."""

    def __init__(self, encoder: Encoder, directory: Path) -> None:
        self.encoder, self.docs = encoder, directory / "docs"
        self.docs.mkdir()
        self.index = MemoryIndex(MemoryRetriever(encoder))
        self.told: list[str] = []

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    async def run(
        self, *paths: Path, cutting: Cutting = Cutting(), base_uri: str | None = None
    ) -> IndexReport:
        roots = [Root(path, root_location(path, base_uri)) for path in paths or (self.docs,)]
        run = IndexRun(
            self.index, self.encoder, PassageCutter(cutting), on_failure=self.told.append
        )
        return await run.run(roots, progress=lambda _: lambda _: None)

    @property
    def passages(self) -> Sequence[NewPassage]:
        return list(self.index.passages.values())

    def texts(self) -> set[str]:
        return {new.text for new in self.passages}


@pytest.fixture
def bench(encoder: Encoder, tmp_path: Path) -> Bench:
    return Bench(encoder, tmp_path)


def counts(report: IndexReport) -> tuple[int, int, int, int]:
    return report.added, report.updated, report.unchanged, report.removed


async def test_only_what_changed_is_written_again(bench: Bench) -> None:
    bench.write("a.md", "# A\n\none")
    bench.write("sub/b.txt", "two")
    assert counts(await bench.run()) == (2, 0, 0, 0)
    again = await bench.run()
    assert counts(again) == (0, 0, 2, 0)
    assert again.passages == 0
    bench.write("a.md", "# A\n\nthree")
    (bench.docs / "sub/b.txt").unlink()
    bench.write("c.txt", "four")
    assert counts(await bench.run()) == (1, 1, 0, 1)
    assert bench.texts() == {"# A\n\nthree", "four"}


async def test_a_touched_file_is_unchanged(bench: Bench) -> None:
    path = bench.write("a.md", "one")
    await bench.run()
    os.utime(path, (1, 1))
    assert counts(await bench.run()) == (0, 0, 1, 0)


async def test_title_uri_date_and_tenant_are_kept(bench: Bench) -> None:
    path = bench.write("a b.md", "# Rules\n\ntext")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    await bench.run(cutting=Cutting(tenant="acme"))
    [new] = bench.passages
    assert (new.title, new.tenant) == ("Rules", "acme")
    assert new.uri == path.as_uri()
    assert new.uri.endswith("/docs/a%20b.md")
    assert new.updated_at == datetime.fromtimestamp(1_700_000_000, UTC)


async def test_another_paths_documents_stay(bench: Bench, tmp_path: Path) -> None:
    bench.write("a.txt", "one")
    other = tmp_path / "docs2"
    other.mkdir()
    (other / "b.txt").write_text("two")
    await bench.run()
    assert counts(await bench.run(other)) == (1, 0, 0, 0)
    (bench.docs / "a.txt").unlink()
    assert counts(await bench.run(other)) == (0, 0, 1, 0)
    assert counts(await bench.run()) == (0, 0, 0, 1)
    assert bench.texts() == {"two"}


async def test_a_part_of_a_root_may_be_indexed_alone(bench: Bench) -> None:
    bench.write("a.txt", "one")
    bench.write("sub/b.txt", "two")
    await bench.run()
    assert counts(await bench.run(bench.docs / "sub")) == (0, 0, 1, 0)
    assert counts(await bench.run(bench.docs / "a.txt")) == (0, 0, 1, 0)
    assert counts(await bench.run(bench.docs, bench.docs / "sub")) == (0, 0, 2, 0)


@pytest.mark.parametrize("cutting", [Cutting(chars=200), Cutting(overlap=9), Cutting(tenant="b")])
async def test_other_settings_make_a_document_anew(bench: Bench, cutting: Cutting) -> None:
    bench.write("a.txt", "one")
    await bench.run()
    assert counts(await bench.run(cutting=cutting)) == (0, 1, 0, 0)
    assert len(bench.passages) == 1


async def test_passages_keep_their_ids_where_their_text_stays(bench: Bench) -> None:
    paragraphs = [f"Paragraph {n}. " + "word " * 18 for n in range(4)]
    bench.write("a.txt", "\n\n".join(paragraphs))
    await bench.run(cutting=Cutting(chars=110))
    before = {new.text: new.id for new in bench.passages}
    bench.write("a.txt", "\n\n".join(["New first one. " + "text " * 18, *paragraphs]))
    await bench.run(cutting=Cutting(chars=110))
    after = {new.text: new.id for new in bench.passages}
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()


async def test_equal_passages_of_a_document_are_told_apart(bench: Bench) -> None:
    line = "the same words " * 7
    bench.write("a.txt", "\n\n".join([line] * 3))
    await bench.run(cutting=Cutting(chars=110))
    assert len(bench.passages) == 3
    assert counts(await bench.run(cutting=Cutting(chars=110))) == (0, 0, 1, 0)


async def test_no_passage_is_longer_than_asked(bench: Bench) -> None:
    bench.write("a.md", "# T\n\n" + "word " * 500 + "x" * 1000)
    await bench.run(cutting=Cutting(chars=200, overlap=20))
    assert len(bench.passages) > 15
    assert all(len(new.text) <= 200 for new in bench.passages)


async def test_each_line_of_jsonl_is_a_document(bench: Bench) -> None:
    rows = [{"id": n, "text": f"text {n}", "tenant": "b", "uri": f"u{n}"} for n in range(3)]
    bench.write("x.jsonl", "\n".join(map(json.dumps, rows)))
    assert counts(await bench.run()) == (3, 0, 0, 0)
    assert {(new.uri, new.tenant) for new in bench.passages} == {(f"u{n}", "b") for n in range(3)}
    rows[0]["text"] = "changed"
    bench.write("x.jsonl", "\n".join(map(json.dumps, rows[:2])))
    assert counts(await bench.run()) == (0, 1, 1, 1)
    assert bench.texts() == {"changed", "text 1"}


async def test_lines_without_an_id_are_known_by_their_content(bench: Bench) -> None:
    bench.write("x.jsonl.gz", gzip.compress(b'{"text": "a"}\n{"text": "b"}\n'))
    await bench.run()
    bench.write("x.jsonl.gz", gzip.compress(b'{"text": "c"}\n{"text": "a"}\n'))
    assert counts(await bench.run()) == (1, 0, 1, 1)


async def test_a_bad_line_is_named_and_the_others_go_in(bench: Bench) -> None:
    bench.write("x.jsonl", '{"id": 1, "text": "a"}\nnope\n{"id": 1, "text": "b"}\n{"text": "c"}\n')
    report = await bench.run()
    assert (report.added, report.failed) == (2, 2)
    assert bench.told == report.failures
    assert f"{bench.docs}/x.jsonl:2: " in bench.told[0]
    assert "x.jsonl:3: an earlier line has the same id" in bench.told[1]


async def test_what_cant_be_read_now_is_kept_as_it_was(bench: Bench) -> None:
    bench.write("x.jsonl", '{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}')
    bench.write("y.pdf", b"%PDF broken")
    await bench.run()
    bench.write("x.jsonl", '{"id": 1, "text": "a"}\n{"id": 2, broken')
    report = await bench.run()
    assert (report.failed, report.removed, report.unchanged) == (2, 0, 1)
    assert bench.texts() == {"a", "b"}


async def test_a_repeated_line_doesnt_stop_deletions(bench: Bench) -> None:
    bench.write("x.jsonl", '{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}')
    await bench.run()
    bench.write("x.jsonl", '{"id": 1, "text": "a"}\n{"id": "1", "text": "c"}')
    report = await bench.run()
    assert (report.failed, report.removed) == (1, 1)
    assert bench.texts() == {"a"}


async def test_a_date_out_of_the_calendar_fails_its_document_alone(bench: Bench) -> None:
    bench.write("a.md", "---\ndate: 0001-01-01T00:00:00+05:00\n---\none")
    bench.write(
        "b.jsonl", '{"text": "x", "updated_at": "9999-12-31T23:59:59-05:00"}\n{"text": "y"}'
    )
    report = await bench.run()
    assert (report.failed, report.added) == (2, 1)
    assert bench.texts() == {"y"}


async def test_a_document_whose_tenant_cant_be_told_is_nobodys(bench: Bench) -> None:
    """What was everybody's goes as soon as the document says that it isn't."""
    bench.write("a.md", "one")
    bench.write("b.md", "two")
    await bench.run()
    bench.write("a.md", "---\nTenant: acme\n---\none")
    report = await bench.run()
    assert (report.failed, report.removed) == (1, 1)
    assert bench.texts() == {"two"}


async def test_a_failure_in_a_file_whose_name_isnt_utf8_can_be_reported(bench: Bench) -> None:
    (bench.docs / os.fsdecode(b"caf\xe9.pdf")).write_bytes(b"junk")
    report = await bench.run()
    assert report.failed == 1
    assert b"caf" in msgspec.json.encode(report)
    bench.told[0].encode()


async def test_a_document_that_lost_its_text_goes(bench: Bench) -> None:
    bench.write("a.txt", "one")
    await bench.run()
    bench.write("a.txt", "  \n")
    report = await bench.run()
    assert (report.empty, report.removed) == (1, 1)
    assert not bench.passages


async def test_a_base_uri_makes_the_index_independent_of_the_directory(
    bench: Bench, tmp_path: Path
) -> None:
    bench.write("sub/a b.txt", "one")
    await bench.run(base_uri="https://docs.example/v2/")
    assert [new.uri for new in bench.passages] == ["https://docs.example/v2/sub/a%20b.txt"]
    moved = bench.docs.rename(tmp_path / "elsewhere")
    assert counts(await bench.run(moved, base_uri="https://docs.example/v2")) == (0, 0, 1, 0)


def test_hidden_files_and_other_formats_are_skipped_and_counted(bench: Bench) -> None:
    for name in (".hidden.md", ".git/x.md", "a.exe", "b.MD", "c.jsonl", "README"):
        bench.write(name, "x")
    found = find_sources(bench.docs, "file:///docs")
    assert [file.path.name for file in found.files] == ["b.MD", "c.jsonl"]
    assert found.skipped == 3


def test_links_are_followed_once(bench: Bench) -> None:
    bench.write("a.txt", "x")
    bench.write("sub/b.txt", "x")
    (bench.docs / "sub/loop").symlink_to(bench.docs)
    (bench.docs / "again").symlink_to(bench.docs / "sub")
    (bench.docs / "c.txt").symlink_to(bench.docs / "a.txt")
    (bench.docs / "gone.txt").symlink_to(bench.docs / "nowhere")
    found = find_sources(bench.docs, "file:///docs")
    assert sorted(file.path.name for file in found.files) == ["a.txt", "b.txt", "c.txt"]
    assert found.unreadable == ["file:///docs/gone.txt"]


def test_a_link_that_nobody_can_follow_hides_nothing_beside_it(bench: Bench) -> None:
    bench.write("a.txt", "x")
    bench.write("sub/b.txt", "x")
    for name in ("loop", ".loop"):
        (bench.docs / name).symlink_to(bench.docs / name)
    found = find_sources(bench.docs, "file:///docs")
    assert [file.path.name for file in found.files] == ["a.txt", "b.txt"]
    assert found.unreadable == ["file:///docs/loop"]


class Entry(msgspec.Struct):
    """What os.scandir gives."""

    name: str
    directory: bool

    def is_dir(self) -> bool:
        return self.directory


def test_a_wide_directory_is_listed_in_a_moment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time that grew with the square of the entries would be seconds here."""
    entries = [Entry(f".{n}", directory=n % 2 == 0) for n in range(30_000)]
    monkeypatch.setattr("os.scandir", lambda _: nullcontext(entries))
    began = time.monotonic()
    assert find_sources(bench.docs, "file:///docs").skipped == 15_000
    assert time.monotonic() - began < 2.0


def test_a_hidden_file_that_is_named_is_taken(bench: Bench) -> None:
    path = bench.write(".notes.md", "x")
    assert [file.path for file in find_sources(path, "file:///x").files] == [path]


def test_a_pipe_is_skipped(bench: Bench) -> None:
    os.mkfifo(bench.docs / "pipe.txt")
    assert find_sources(bench.docs, "file:///docs").skipped == 1


def test_a_path_that_isnt_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is nothing at .*nowhere"):
        root_location(tmp_path / "nowhere", None)


@pytest.mark.parametrize("wrong", [{"chars": 99}, {"chars": 30_001}, {"overlap": 1200}])
def test_a_wrong_cutting_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises((SettingsError, msgspec.ValidationError), match="--"):
        Cutting(**wrong)


def test_a_tenant_that_no_request_can_name_is_refused() -> None:
    assert Cutting(tenant="x" * 128)
    with pytest.raises(SettingsError, match="--tenant takes at most 128 characters"):
        Cutting(tenant="x" * 129)
