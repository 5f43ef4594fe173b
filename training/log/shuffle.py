"""A large log, shuffled into parts: three passes of steps that any engine can run.

1. `deal`: the log's files are read once, features and all, and their rows dealt by decision id.
2. `tell`: each bucket of decisions is joined, and tells what it knows of the whole log.
3. `place`: each bucket is joined again, now knowing the whole, and its rounds are dealt by query.

A part is one query bucket of all files that `place` wrote. Each step reads files, writes one whole
file of a name that is its own, and returns little: it may run twice, anywhere.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.engines import Engine
from training.errors import InputError
from training.log import columns
from training.log.distinct import Log, distinct_log
from training.log.join import require_metrics, require_version
from training.log.joined_columns import JOINED, KINDS, read_files
from training.log.joined_values import JoinedValues, join_values
from training.log.log_facts import LogFacts, Whole, added, whole_of
from training.log.log_files import Kind
from training.log.log_folder import LogFolder, LogPlace
from training.log.rounds import Bools, Floats, LoggedRounds, RoundCounts
from training.log.rounds_table import explored_at, observed, rounds_of
from training.log.scratch import buckets_of, read_bucket, write_buckets
from training.log.settled_rounds import Settled, counts_of, settled


class Piece(NamedTuple):
    """Some of a log's files of one kind, to be dealt by one step."""

    number: int
    kind: Kind
    files: tuple[str, ...]


class Latest(NamedTuple):
    """The latest decision of a piece or a bucket: ordered by time, then by id."""

    at: float
    decision_id: str
    named: str


class Dealt(NamedTuple):
    """Where a piece's rows lie, by decision id; the latest decision with its feature version, and
    all versions found.
    """

    kind: Kind
    name: str
    latest: Latest | None
    versions: frozenset[str]


class Placed(NamedTuple):
    """Where a bucket's rounds lie, by query, how many for each part, and what they add up to.

    `settled` has no rows any more; `features` is the size of a row of them in bytes, None without
    rows; `latest` names the policy version.
    """

    name: str
    rows: tuple[int, ...]
    settled: Settled
    features: frozenset[int]
    observed: Bools
    explored_at: Floats
    latest: Latest | None
    tenants: frozenset[str]


@dataclass(frozen=True)
class StoredPart:
    """A part whose rounds lie in files."""

    folder: LogFolder
    names: tuple[str, ...]
    number: int
    rows: int
    schema: pa.Schema
    whole: Whole
    counts: RoundCounts
    source: LogPlace

    def read(self, *, features: bool = True) -> LoggedRounds:
        """The rounds, in order of time, then of decision id."""
        absent = () if features else ("features",)
        table = read_bucket(self.folder, self.names, self.number, self.schema, absent)
        table = table.sort_by([("at", "ascending"), ("decision_id", "ascending")])
        return rounds_of(table, self.whole, self.counts, self.source, features=features)


@dataclass(frozen=True)
class Shuffle:
    """A shuffle of one log.

    source: the log's directory; scratch: where files between passes lie; buckets: of decisions, and
    parts; since: keep rounds made later than this.
    """

    source: LogFolder
    scratch: LogFolder
    buckets: int
    since: float = -math.inf

    def run(
        self,
        pieces: Sequence[Piece],
        engine: Engine,
        *,
        arms: Sequence[str] = (),
        feature_version: str | None = None,
    ) -> tuple[Whole, list[Placed]]:
        """Shuffle the log's pieces; arguments and errors as for `join_rounds`."""
        dealt = list(engine.map(partial(deal, self), pieces))
        wanted = self._version(dealt, feature_version)
        held = Held(self, tuple((one.kind, one.name) for one in dealt), wanted)
        numbers = range(self.buckets)
        whole = whole_of(added(engine.map(partial(tell, held), numbers)), wanted, arms)
        require_metrics(whole, self.source)
        placed = list(engine.map(partial(place, held, whole), numbers))
        self.scratch.delete(one.name for one in dealt)
        return whole, placed

    def _version(self, dealt: Iterable[Dealt], wanted: str | None) -> str:
        found = list(dealt)
        if wanted is None:
            wanted = max(one.latest for one in found if one.latest is not None).named
        versions = sorted(frozenset[str]().union(*(one.versions for one in found)))
        require_version(wanted, versions, self.source)
        return wanted


class Held(NamedTuple):
    """A log dealt by decision id, of which decisions with one kind of features are wanted."""

    shuffle: Shuffle
    files: tuple[tuple[Kind, str], ...]
    feature_version: str

    def joined(self, bucket: int, *, features: bool) -> JoinedValues:
        """One bucket's decisions and their values."""
        log = self._log(bucket, () if features else ("features",))
        return join_values(log, self.feature_version, self.shuffle.source)

    def _log(self, bucket: int, without: Sequence[str]) -> Log:
        tables = []
        for kind in KINDS:
            names = [name for own, name in self.files if own == kind]
            absent = without if kind == "decisions" else ()
            scratch = self.shuffle.scratch
            tables.append(read_bucket(scratch, names, bucket, JOINED[kind], absent))
        return distinct_log(*tables)


def deal(shuffle: Shuffle, piece: Piece) -> Dealt:
    """Read a piece of the log, and write its rows by decision id."""
    table = read_files(shuffle.source, piece.files, piece.kind, shuffle.since)
    if piece.kind == "decisions":
        columns.times(table, shuffle.source)
    name = f"{piece.kind}-{piece.number:06d}.arrow"
    bucket = buckets_of(table["decision_id"], shuffle.buckets)
    write_buckets(table, bucket, shuffle.buckets, shuffle.scratch, name)
    if piece.kind != "decisions" or table.num_rows == 0:
        return Dealt(piece.kind, name, None, frozenset())
    versions = columns.coded(table["feature_version"])[1]
    return Dealt(piece.kind, name, _latest(table, "feature_version"), frozenset(versions.tolist()))


def tell(held: Held, bucket: int) -> LogFacts:
    """What a bucket knows of the whole log."""
    return held.joined(bucket, features=False).facts


def place(held: Held, whole: Whole, bucket: int) -> Placed:
    """Join a bucket, and write its rounds by query."""
    shuffle = held.shuffle
    found = settled(held.joined(bucket, features=True), whole, shuffle.source, shuffle.since)
    table = found.table
    # A query without a hash is a group of its own, wherever it lies.
    hashes = pc.if_else(
        pc.equal(table["query_hash"].fill_null(""), ""), table["decision_id"], table["query_hash"]
    )
    part = buckets_of(hashes, shuffle.buckets)
    name = f"rounds-{bucket:06d}.arrow"
    write_buckets(table, part, shuffle.buckets, shuffle.scratch, name)
    sizes = np.unique(pc.binary_length(table["features"]).fill_null(0).to_numpy())
    return Placed(
        name=name,
        rows=tuple(np.bincount(part, minlength=shuffle.buckets).tolist()),
        settled=found._replace(table=table.schema.empty_table()),
        features=frozenset(sizes.tolist()),
        observed=observed(table, len(whole.metrics)),
        explored_at=explored_at(table, len(whole.arms)),
        latest=_latest(table, "policy_version") if table.num_rows else None,
        tenants=frozenset(columns.coded(table["tenant"])[1].tolist()),
    )


def _latest(table: Any, name: str) -> Latest:
    at = columns.numbers(table["at"])
    last = np.flatnonzero(at == at.max())
    ids = table["decision_id"].take(pa.array(last)).to_pylist()
    row = max(range(len(last)), key=ids.__getitem__)
    return Latest(float(at[last[row]]), ids[row], table[name][int(last[row])].as_py() or "")


def stored_parts(
    shuffle: Shuffle, whole: Whole, placed: Sequence[Placed]
) -> tuple[tuple[StoredPart, ...], RoundCounts]:
    """The parts that aren't empty, and what the join found.

    Raises:
        InputError: features differ in length between buckets.
    """
    if len(sizes := frozenset[int]().union(*(one.features for one in placed))) > 1:
        raise InputError(
            "decisions of one feature version have rows of different lengths, "
            f"{', '.join(map(str, sorted(sizes)))} bytes: export the log again",
            path=shuffle.source / "decisions",
            field="features",
        )
    counts = counts_of(whole, [one.settled for one in placed])
    rows = np.sum([one.rows for one in placed], axis=0)
    names = tuple(one.name for one in placed)
    schema = placed[0].settled.table.schema
    parts = tuple(
        StoredPart(
            shuffle.scratch, names, number, int(rows[number]), schema, whole, counts, shuffle.source
        )
        for number in np.flatnonzero(rows).tolist()
    )
    return parts, counts
