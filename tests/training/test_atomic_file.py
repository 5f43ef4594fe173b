"""Files of lines: whole or not at all."""

import gzip
from pathlib import Path

import pytest

from training.atomic_file import lines_to, sync_directory, write_durably


def test_lines_are_written_and_compressed_by_the_files_name(tmp_path: Path) -> None:
    for name, read in (("a.jsonl", Path.read_bytes), ("a.jsonl.gz", _unpack)):
        with lines_to(tmp_path / "new" / name) as write:
            write(b"one")
            write(b"two")
        assert read(tmp_path / "new" / name) == b"one\ntwo\n"


def _unpack(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def test_an_interruption_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"before\n")

    def interrupted() -> None:
        with lines_to(path) as write:
            write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"before\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_dash_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with lines_to(Path("-")) as write:
        write("où".encode())
    assert capsys.readouterr().out == "où\n"


def test_a_durable_file_replaces_another_whole(tmp_path: Path) -> None:
    """Anything with a buffer; nothing is left beside it."""
    write_durably(tmp_path / "a", b"before")
    write_durably(tmp_path / "a", memoryview(b"after"))
    sync_directory(tmp_path)
    assert (tmp_path / "a").read_bytes() == b"after"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_durable_file_that_cant_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    """Whatever went wrong."""
    write_durably(tmp_path / "a", b"before")
    with pytest.raises(TypeError):
        write_durably(tmp_path / "a", "text has no buffer")
    assert (tmp_path / "a").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
