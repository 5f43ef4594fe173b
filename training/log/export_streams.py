"""The store's streams that an export reads: what they are called and what their events become."""

from typing import NamedTuple

from policies.store_keys import StoreKeys
from training.log.event_tables import Kind


class LogStream(NamedTuple):
    """One stream.

    `name` stands for it in `export.json`, for ever; `key` is where it lies in the store, `kinds`
    what its events are exported as, `shard` its number among the streams of such events.
    """

    name: str
    key: str
    kinds: tuple[Kind, ...]
    shard: int = 0


def export_streams(keys: StoreKeys) -> tuple[LogStream, ...]:
    """All streams of a log, decisions before the feedback on them.

    A stream may be added under a new name and shard; each has a position of its own, and what is
    written of it names its shard.
    """
    return (
        LogStream("decisions", keys.decisions, ("decisions", "answers")),
        LogStream("feedback", keys.feedback, ("feedback",)),
    )
