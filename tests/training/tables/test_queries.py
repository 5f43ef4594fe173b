"""Files of queries."""

import gzip
from pathlib import Path

import pytest

from training.errors import EmptyLogError, InputError
from training.tables.queries import read_queries


def test_json_lines_have_ids_or_get_their_line_number(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"query": "who?", "id": "a", "more": [1]}\n\n{"query": "when?"}\n{"query":"x","id":7}\n'
    )
    assert read_queries(path) == (["a", "3", "7"], ["who?", "when?", "x"])


def test_plain_text_is_one_query_a_line(tmp_path: Path) -> None:
    path = tmp_path / "q.txt.gz"
    path.write_bytes(gzip.compress("wer?\n  où ?  \n".encode()))
    assert read_queries(path) == (["1", "2"], ["wer?", "où ?"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"query": "a"}\nplain\n', ":2: not a query"),
        (b'{"query": 1}\n', ":1: not a query"),
        (b'{"query": " "}\n', ":1:query: the query is blank"),
        (b"a" * 40_000, ":1:query: the query has 40,000 characters"),
        (b"\xff\xfe\n", "isn't UTF-8"),
    ],
)
def test_an_unusable_line_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "q"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_queries(path)
    assert message in str(caught.value)


def test_an_empty_file_is_no_work(tmp_path: Path) -> None:
    path = tmp_path / "q"
    path.write_text("\n")
    with pytest.raises(EmptyLogError, match="no queries"):
        read_queries(path)
