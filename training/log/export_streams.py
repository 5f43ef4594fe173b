"""The store's streams that an export reads: what they are called and what their events become."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from policies.shards import Shards
from policies.store_keys import EVENT_FIELD, StoreKeys
from training.log.event_tables import Kind

START = "0-0"
_FIELD = EVENT_FIELD.encode()

# A reply is held in memory as a whole: entries are fetched by so many, fewer where they are large.
_FETCHED, _FETCHED_BYTES = 512, 4 * 2**20

# An entry's id, and the event as the service encoded it: its fields, which are no event, where it
# has none.
Entry = tuple[bytes, bytes]


class LogStream(NamedTuple):
    """One stream.

    `name` stands for it in the export's state, for ever; `key` is where it lies in the store,
    `kinds` what its events are exported as, `shard` its number among the streams of such events.
    """

    name: str
    key: str
    kinds: tuple[Kind, ...]
    shard: int = 0


def export_streams(client: Any, keys: StoreKeys) -> tuple[LogStream, ...]:
    """All streams of the log that the store holds, decisions before the feedback on them.

    Each shard's streams have names and positions of their own, and the files that are written of
    them name the shard.

    Args:
        client: of the store, to ask it which shards there are.
        keys: of the project.
    """
    shards = list(enumerate(Shards.noted(client.get(keys.shards), keys).all))
    return (
        *(
            LogStream(_name("decisions", number), shard.decisions, ("decisions", "answers"), number)
            for number, shard in shards
        ),
        *(
            LogStream(_name("feedback", number), shard.feedback, ("feedback",), number)
            for number, shard in shards
        ),
    )


def _name(events: str, shard: int) -> str:
    return f"{events}-{shard}" if shard else events


class StreamEnd(NamedTuple):
    """The id of a stream's last entry, None for an empty one, and how many it ever had."""

    last: str | None
    added: int


def stream_end(client: Any, stream: LogStream) -> StreamEnd:
    """Where a stream ends as of now."""
    if not client.exists(stream.key):
        return StreamEnd(None, 0)
    found = client.xinfo_stream(stream.key)
    last = found["last-entry"]
    return StreamEnd(last[0].decode() if last else None, int(found["entries-added"]))


def entries_after(
    client: Any, stream: LogStream, position: str, until: str, *, at_most: int
) -> Iterator[list[Entry]]:
    """The entries after a position up to an id, in lists of a few megabytes and so many at most."""
    count = most = min(_FETCHED, at_most)
    while reply := client.xrange(stream.key, min=f"({position}", max=until, count=count):
        entries = [(entry_id, _event(fields)) for entry_id, fields in reply]
        yield entries
        position = entries[-1][0].decode()
        size = sum(len(event) for _, event in entries) // len(entries)
        count = max(1, min(most, _FETCHED_BYTES // max(size, 1)))


def _event(fields: dict[bytes, bytes]) -> bytes:
    event = fields.get(_FIELD)
    return msgspec.msgpack.encode(list(fields.items())) if event is None else event


def entry_number(entry_id: str) -> tuple[int, int]:
    """An id as numbers that compare as the ids do: milliseconds, sequence."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)
