"""Entries of a stream on their way to files, as Arrow tables: what is committed at once.

An entry that is no event, or that has a value no column can hold, is damaged: it is set aside, as
it is, and the others are written.
"""

from collections.abc import Iterator, Sequence

import msgspec
import pyarrow as pa

from policies.errors import EventError
from policies.events import decode_event
from training.log.event_tables import KINDS, Kind, encoded_tables
from training.log.export_streams import Entry

# What building tables raises for them: not decodable, or a number beyond its column's type.
_DAMAGED = (msgspec.DecodeError, OverflowError, pa.ArrowInvalid, pa.ArrowTypeError)


class DamagedEntry(msgspec.Struct, frozen=True):
    """An entry by its id, and what it held; in JSON that is base64."""

    id: str
    event: bytes


class ExportBatch:
    """Entries in order; they become columns as they are added.

    `first` and `last` are ids; `entries` counts all, `size` the bytes of their encodings. No row is
    written for `damaged` entries, nor for those of a later release: `unknown` counts them, and
    `first_unknown` is the first one's id.
    """

    def __init__(self) -> None:
        """Begin without an entry."""
        self.entries = self.size = self.unknown = 0
        self.first = self.last = ""
        self.first_unknown: str | None = None
        self.damaged: list[DamagedEntry] = []
        self._tables: dict[Kind, list[pa.Table]] = {kind: [] for kind in KINDS}

    def add(self, entries: Sequence[Entry]) -> None:
        """Append these entries, at least one."""
        self.first = self.first or entries[0][0].decode()
        self.last = entries[-1][0].decode()
        self.entries += len(entries)
        self.size += sum(len(encoded) for _, encoded in entries)
        try:
            tables = encoded_tables(encoded for _, encoded in entries)
        except _DAMAGED:
            tables = encoded_tables(self._sound(entries))
        for kind, table in tables.items():
            self._tables[kind].append(table)

    def _sound(self, entries: Sequence[Entry]) -> Iterator[bytes]:
        """The encodings that rows can be made of, one by one; the others are counted."""
        for entry_id, encoded in entries:
            try:
                if decode_event(encoded) is None:
                    self.unknown += 1
                    self.first_unknown = self.first_unknown or entry_id.decode()
                    continue
                encoded_tables([encoded])
            except (EventError, *_DAMAGED):
                self.damaged.append(DamagedEntry(entry_id.decode(), encoded))
            else:
                yield encoded

    def tables(self) -> Iterator[tuple[Kind, pa.Table]]:
        """The rows by kind; each kind's memory is given up as the next one is asked for."""
        for kind in KINDS:
            yield kind, pa.concat_tables(self._tables.pop(kind))
