"""Outcome tables: questions whose outcome is known for several arms at once.

A row is `{"id","query","dataset"?,"split"?,"outcomes":{"<arm>":{"quality":..,"steps"?:..}}}`. Any
number in an outcome is a metric; text, flags and lists beside it are left alone. A row may lack an
arm, and an arm a metric: that is NaN, never a guess.
"""

import gzip
import hashlib
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from policies.arms import did_you_mean
from policies.errors import QueryError
from policies.objective import STANDARD_METRICS
from policies.query import check_query
from training.errors import EmptyLogError, InputError

Floats = NDArray[np.float64]
_FIELD_PATH = re.compile(r" - at `\$\.?(.*)`$")


@dataclass(frozen=True, slots=True)
class OutcomeTable:
    """Full-information rows.

    values (n, A, M): NaN where a row has no such arm or metric. `sha256` is the hash of the source
    files' lines, whatever their compression, before the choice of a split.
    """

    ids: list[str]
    queries: list[str]
    datasets: list[str]
    splits: list[str]
    arms: tuple[str, ...]
    metrics: tuple[str, ...]
    values: Floats
    sources: tuple[str, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, index: NDArray[Any]) -> "OutcomeTable":
        """The table of some of its rows, by position or mask."""
        positions = np.arange(len(self))[index].tolist()
        return OutcomeTable(
            ids=[self.ids[i] for i in positions],
            queries=[self.queries[i] for i in positions],
            datasets=[self.datasets[i] for i in positions],
            splits=[self.splits[i] for i in positions],
            arms=self.arms,
            metrics=self.metrics,
            values=self.values[positions],
            sources=self.sources,
            sha256=self.sha256,
        )


class _Row(msgspec.Struct):
    id: str
    query: str
    outcomes: dict[str, dict[str, Any]]
    dataset: str | None = None
    split: str | None = None


class _Place(NamedTuple):
    path: Path
    line: int

    def error(self, field: str, message: str) -> InputError:
        return InputError(message, path=self.path, line=self.line, field=field)


def read_outcomes(
    paths: Sequence[Path],
    *,
    split: str | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> OutcomeTable:
    """The rows of one or more `.jsonl` or `.jsonl.gz` files, of one split or of all.

    Args:
        paths: the files, read in this order.
        split: keep only the rows of this split.
        advance: told how many rows were read since it was last called.

    Raises:
        InputError: a file is missing or damaged, or a line isn't such a row; the message names the
            file, the line, the field and the cure.
        EmptyLogError: no row is left.
    """
    rows: list[_Row] = []
    columns = _Columns()
    splits: Counter[str] = Counter()
    hasher = hashlib.sha256()
    for path in paths:
        seen: dict[str, int] = {}
        for number, line in read_lines(path):
            hasher.update(line + b"\n")
            place = _Place(path, number)
            row = _decode_row(line, place)
            first = seen.setdefault(f"{row.split}\0{row.id}", number)
            if first != number:
                raise place.error(
                    "id", f"{row.id!r} is already the id of line {first}: give each row its own"
                )
            splits[row.split or ""] += 1
            if split is None or row.split == split:
                columns.check(row, place)
                rows.append(row)
            advance(1)
    if not rows:
        raise _nothing(paths, split, splits)
    arms, metrics = columns.arms(), columns.metrics()
    if not metrics:
        raise InputError(f"no outcome has a number: {_ROW_CURE}", path=paths[0], field="outcomes")
    return OutcomeTable(
        ids=[row.id for row in rows],
        queries=[row.query for row in rows],
        datasets=[row.dataset or "" for row in rows],
        splits=[row.split or "" for row in rows],
        arms=arms,
        metrics=metrics,
        values=_values(rows, arms, metrics),
        sources=tuple(str(path) for path in paths),
        sha256=hasher.hexdigest(),
    )


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The file's lines that aren't blank, stripped, with their numbers from 1; gzip by its name.

    Raises:
        InputError: the file is missing, unreadable or a damaged gzip file.
    """
    if not path.is_file():
        what = "is a directory, not a file" if path.is_dir() else "no such file"
        raise InputError(f"{what}: check the path", path=path)
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if text := line.strip():
                    yield number, text
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"can't be read after line {number} ({error}): is it complete, and gzip if it ends "
            "in .gz?",
            path=path,
        ) from error


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix == ".gz":
        with gzip.open(path, "rb") as file:
            yield cast(IO[bytes], file)
    else:
        with path.open("rb") as file:
            yield file


def _decode_row(line: bytes, place: _Place) -> _Row:
    try:
        row = msgspec.json.decode(line, type=_Row)
    except msgspec.ValidationError as error:
        message, field = str(error), ""
        if found := _FIELD_PATH.search(message):
            message, field = message[: found.start()], found.group(1)
        raise place.error(field, f"{message[:1].lower()}{message[1:]}: {_ROW_CURE}") from error
    except msgspec.DecodeError as error:
        raise place.error("", f"not a JSON object on one line ({error}): {_ROW_CURE}") from error
    try:
        check_query(row.query)
    except QueryError as error:
        raise place.error("query", f"{error}: remove the row or repair it") from error
    if not row.outcomes:
        raise place.error("outcomes", "has no arm: give the outcome of at least one")
    return row


_ROW_CURE = 'a row is {"id": "..", "query": "..", "outcomes": {"ARM": {"quality": 0.5}}}'


_MAX_VALUE = 10**9


class _Columns:
    """The arms and metrics met so far, and whether each field is a number everywhere."""

    def __init__(self) -> None:
        self._arms: dict[str, None] = {}
        self._numeric: dict[str, int] = {}
        self._other: dict[str, int] = {}

    def arms(self) -> tuple[str, ...]:
        return tuple(self._arms)

    def metrics(self) -> tuple[str, ...]:
        """The metrics in order of appearance, but `quality` first."""
        return tuple(sorted(self._numeric, key=lambda name: name != "quality"))

    def check(self, row: _Row, place: _Place) -> None:
        for arm, outcome in row.outcomes.items():
            self._arms.setdefault(arm)
            for name, value in outcome.items():
                if value is not None:
                    self._check_value(name, value, place, f"outcomes.{arm}.{name}")

    def _check_value(self, name: str, value: Any, place: _Place, field: str) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and abs(value) > _MAX_VALUE and value not in (math.inf, -math.inf):
            raise place.error(field, "is too large for a metric: at most 1e9 in size")
        (self._numeric if number else self._other).setdefault(name, place.line)
        if not number and name in STANDARD_METRICS:
            raise place.error(field, f"must be a number, not {value!r}: write it without quotes")
        if name in self._numeric and name in self._other:
            raise place.error(
                field,
                f"is {value!r} here, but {'text' if number else 'a number'} on line "
                f"{(self._other if number else self._numeric)[name]}: a metric is a number in "
                "every row; leave it out where it isn't known",
            )
        if number and not math.isfinite(value):
            raise place.error(field, f"must be finite, not {value}: leave it out if unknown")
        if name == "quality" and not 0.0 <= value <= 1.0:
            raise place.error(field, f"must lie between 0 and 1, not {value}: rescale it")


def _values(rows: Sequence[_Row], arms: Sequence[str], metrics: Sequence[str]) -> Floats:
    values = np.full((len(rows), len(arms), len(metrics)), np.nan)
    for i, row in enumerate(rows):
        for a, arm in enumerate(arms):
            outcome = row.outcomes.get(arm)
            if outcome:
                found = [outcome.get(metric) for metric in metrics]
                values[i, a] = [np.nan if value is None else value for value in found]
    return values


def _nothing(paths: Sequence[Path], split: str | None, splits: Counter[str]) -> Exception:
    names = ", ".join(str(path) for path in paths)
    if split is None or not splits:
        return EmptyLogError(f"{names}: no rows: {_ROW_CURE}")
    present = [name for name in splits if name]
    counts = ", ".join(f"{name} ({splits[name]} rows)" for name in present)
    known = f"its splits are {counts}" if present else "its rows name no split: leave --split out"
    return InputError(
        f"no row of split {split!r}{did_you_mean(split, present)}: {known}",
        path=paths[0],
        field="split",
    )
