"""Entries of a stream on their way to files, as Arrow tables: what is committed at once."""

from collections.abc import Iterator, Sequence

import msgspec
import pyarrow as pa

from policies.errors import EventError
from policies.events import decode_event
from training.log.event_tables import KINDS, Kind, encoded_tables
from training.log.export_streams import Entry


class ExportBatch:
    """Entries in order; they become columns as they are added.

    `first` and `last` are ids; `entries` counts all, `size` the bytes of their encodings. `unknown`
    and `damaged` count entries that no row is written for, `first_left_out` is the first of them.
    """

    def __init__(self) -> None:
        """Begin without an entry."""
        self.entries = self.size = self.unknown = self.damaged = 0
        self.first = self.last = ""
        self.first_left_out: str | None = None
        self._tables: dict[Kind, list[pa.Table]] = {kind: [] for kind in KINDS}

    def add(self, entries: Sequence[Entry]) -> None:
        """Append these entries, at least one."""
        self.first = self.first or entries[0][0].decode()
        self.last = entries[-1][0].decode()
        self.entries += len(entries)
        self.size += sum(len(encoded) for _, encoded in entries)
        try:
            tables = encoded_tables(encoded for _, encoded in entries)
        except msgspec.DecodeError:
            tables = encoded_tables(self._sound(entries))
        for kind, table in tables.items():
            self._tables[kind].append(table)

    def _sound(self, entries: Sequence[Entry]) -> Iterator[bytes]:
        """The encodings of events that this release knows; the others are counted."""
        for entry_id, encoded in entries:
            try:
                known = decode_event(encoded) is not None
                self.unknown += not known
            except EventError:
                known = False
                self.damaged += 1
            if known:
                yield encoded
            else:
                self.first_left_out = self.first_left_out or entry_id.decode()

    def tables(self) -> Iterator[tuple[Kind, pa.Table]]:
        """The rows by kind; each kind's memory is given up as the next one is asked for."""
        for kind in KINDS:
            yield kind, pa.concat_tables(self._tables.pop(kind))
