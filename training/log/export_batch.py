"""Entries of a stream on their way to files, as Arrow tables: what is committed at once."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from policies.errors import EventError
from policies.events import AnswerFinished, DecisionMade, Event, FeedbackGiven, decode_event
from training.log.event_tables import Kind, answers_table, decisions_table, feedback_table
from training.log.export_streams import Entry

# Events become columns by so many: as objects they take several times the memory.
_CONVERTED, _CONVERTED_BYTES = 2_000, 4 * 2**20


class ExportBatch:
    """Entries in order; they are decoded as they are added.

    `first` and `last` are ids; `entries` counts all, `size` the bytes of their encodings. `unknown`
    and `damaged` count entries that no row is written for, `first_left_out` is the first of them.
    """

    def __init__(self) -> None:
        """Begin without an entry."""
        self.entries = self.size = self.unknown = self.damaged = 0
        self.first = self.last = ""
        self.first_left_out: str | None = None
        self._events: dict[type[Event], list[Any]] = {
            DecisionMade: [],
            AnswerFinished: [],
            FeedbackGiven: [],
        }
        self._converted: dict[Kind, list[pa.Table]] = {
            "decisions": [],
            "answers": [],
            "feedback": [],
        }
        self._waiting = self._waiting_bytes = 0

    def add(self, entries: Sequence[Entry]) -> None:
        """Append these entries, at least one."""
        self.first = self.first or entries[0][0].decode()
        self.last = entries[-1][0].decode()
        size = sum(len(encoded) for _, encoded in entries)
        for entry_id, encoded in entries:
            event = self._decode(entry_id, encoded)
            if event is not None:
                self._events[type(event)].append(event)
        self.entries += len(entries)
        self.size += size
        self._waiting += len(entries)
        self._waiting_bytes += size
        if self._waiting >= _CONVERTED or self._waiting_bytes >= _CONVERTED_BYTES:
            self._convert()

    def _decode(self, entry_id: bytes, encoded: bytes) -> Event | None:
        try:
            event = decode_event(encoded)
        except EventError:
            event = None
            self.damaged += 1
        else:
            self.unknown += event is None
        if event is None:
            self.first_left_out = self.first_left_out or entry_id.decode()
        return event

    def _convert(self) -> None:
        events, converted = self._events, self._converted
        converted["decisions"].append(decisions_table(events[DecisionMade]))
        converted["answers"].append(answers_table(events[AnswerFinished]))
        converted["feedback"].append(feedback_table(events[FeedbackGiven]))
        for waiting in events.values():
            waiting.clear()
        self._waiting = self._waiting_bytes = 0

    def tables(self) -> Iterator[tuple[Kind, pa.Table]]:
        """The rows by kind; each kind's memory is given up when the next one is asked for."""
        self._convert()
        for kind in tuple(self._converted):
            yield kind, pa.concat_tables(self._converted.pop(kind))
