"""Files of queries: JSON lines with a `query`, or plain text."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from policies.errors import QueryError
from policies.query import check_query
from training.errors import EmptyLogError, InputError
from training.tables.outcomes import read_lines


class Queries(NamedTuple):
    """Ids and texts, in order; a query without an id has its line number."""

    ids: list[str]
    queries: list[str]


class _Row(msgspec.Struct):
    query: str
    id: str | int | None = None


def read_queries(path: Path) -> Queries:
    """The file's queries: JSON lines where its first line is a JSON object, else one a line.

    Raises:
        InputError: the file is missing or damaged, or a line holds no usable query.
        EmptyLogError: it holds no line.
    """
    ids, queries = [], []
    as_json: bool | None = None
    for number, line in read_lines(path):
        if as_json is None:
            as_json = line.startswith(b"{")
        row = _decode(line, path, number) if as_json else _Row(_text(line, path, number))
        try:
            queries.append(check_query(row.query))
        except QueryError as error:
            raise InputError(
                f"{error}: remove the line or repair it", path=path, line=number, field="query"
            ) from error
        ids.append(str(number if row.id is None else row.id))
    if not queries:
        raise EmptyLogError(f'{path}: no queries: give lines of text, or of {{"query": ".."}}')
    return Queries(ids, queries)


def _decode(line: bytes, path: Path, number: int) -> _Row:
    try:
        return msgspec.json.decode(line, type=_Row)
    except msgspec.DecodeError as error:
        raise InputError(
            f'not a query ({error}): a line is {{"id": "..", "query": ".."}}, as the first one is '
            "a JSON object",
            path=path,
            line=number,
        ) from error


def _text(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"isn't UTF-8 text ({error.reason}): convert the file", path=path, line=number
        ) from error
