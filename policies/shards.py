"""The log's shards: in which slot of a Redis Cluster a decision's events lie.

All events of one decision lie in one shard, chosen by the decision's id, so that a script can
append exactly once and a trace is found without a search. A shard is a hash tag. The number of
shards may grow: the store notes since when there are how many, and a decision's id (a UUIDv7)
says when it was made, so everybody agrees on its shard at any later time.
"""

import binascii
import zlib
from collections.abc import Sequence

import msgspec

from policies.store_keys import ShardKeys, StoreKeys

# Of a Redis Cluster; a key's is the CRC16 (XMODEM) of its hash tag modulo this.
SLOTS = 16_384
# A new shard's tag is the best of so many names, which brings it within some ten slots of its aim.
_NAMES_TRIED = 1_000
MAX_SHARDS = 256
# More shards count from so long after they were noted, so that each replica knows of them by then;
# it looks every ten seconds.
GROWTH_DELAY_MS = 60_000
_UUID_HEX, _UUID_DIGITS, _VERSION_AT = 36, 12, 14


class Epoch(msgspec.Struct, frozen=True):
    """From a time (milliseconds since the epoch) on, decisions are spread over these hash tags."""

    since_ms: int
    tags: list[str]


class Shards:
    """A log's shards over time; each epoch has the tags of the one before it, and more."""

    def __init__(self, epochs: Sequence[Epoch]) -> None:
        """Store the epochs, the earliest first; it also takes what has no time in its id."""
        self.epochs = list(epochs)
        self.all = [ShardKeys(tag) for tag in self.epochs[-1].tags]
        """Every shard there has ever been; the first is the registry's too."""

    @classmethod
    def noted(cls, noted: bytes | None, keys: StoreKeys) -> "Shards":
        """What the store has under `StoreKeys.shards`; without a note, one shard."""
        if not noted:
            return cls([Epoch(0, [keys.tag])])
        return cls(msgspec.json.decode(noted, type=list[Epoch]))

    def encoded(self) -> bytes:
        """What `noted` reads."""
        return msgspec.json.encode(self.epochs)

    def of(self, decision_id: str) -> ShardKeys:
        """Where a decision's events lie."""
        return self._pick(decision_id, made_at_ms(decision_id) if len(self.epochs) > 1 else 0)

    def always(self, key: str) -> ShardKeys:
        """Where something lies whose key tells no time: in a shard there was from the start."""
        return self._pick(key, 0)

    def _pick(self, key: str, at_ms: int) -> ShardKeys:
        if len(self.all) == 1:
            return self.all[0]
        count = len(self.epochs[0].tags)
        for epoch in self.epochs[1:]:
            if epoch.since_ms <= at_ms:
                count = len(epoch.tags)
        return self.all[zlib.crc32(key.encode()) % count]

    def grown(self, count: int, since_ms: int) -> "Shards":
        """With so many shards from a time on, the present ones among them."""
        tags = spread_tags([shard.tag for shard in self.all], count)
        kept = self.epochs if since_ms > 0 else []
        return Shards([*kept, Epoch(since_ms, tags)])


def slot_of(tag: str) -> int:
    """The cluster slot of keys with this hash tag, braces included."""
    return binascii.crc_hqx(tag[1:-1].encode(), 0) % SLOTS


def spread_tags(tags: Sequence[str], count: int) -> list[str]:
    """Add tags until there are so many, spread as evenly over the cluster's slots as can be.

    Tags hashed as they come would often leave one primary two shards and another none. A new
    cluster's primaries hold equal ranges: where `count` is a multiple of their number, each gets
    as many shards.
    """
    first = slot_of(tags[0])
    aims = [(first + SLOTS * number // count) % SLOTS for number in range(count)]
    for tag in tags:
        aims.remove(min(aims, key=lambda aim: _distance(aim, slot_of(tag))))
    base = tags[0][1:-1]
    return [*tags, *(_tag_near(base, len(tags) + i, aim) for i, aim in enumerate(aims))]


def _tag_near(base: str, number: int, aim: int) -> str:
    # A slash can't stand in a prefix, so no other project has these tags.
    names = (f"{{{base}/{number}.{attempt}}}" for attempt in range(_NAMES_TRIED))
    return min(names, key=lambda tag: _distance(aim, slot_of(tag)))


def _distance(one: int, other: int) -> int:
    return min((one - other) % SLOTS, (other - one) % SLOTS)


def made_at_ms(decision_id: str) -> int:
    """When a decision was made, by its UUIDv7; 0 for another id."""
    if len(decision_id) != _UUID_HEX or decision_id[_VERSION_AT] != "7":
        return 0
    try:
        return int(decision_id.replace("-", "")[:_UUID_DIGITS], 16)
    except ValueError:
        return 0
