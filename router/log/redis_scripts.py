"""What the log has the store do in one step, and how to read what it answers.

Scripts are sent whole: beside a batch of events their text is nothing, and a server that was
restarted, or has taken another's place, needs to know none of them.
"""

from collections.abc import Iterable, Sequence

from policies.errors import EventError
from policies.events import Event, FeedbackGiven, decode_event, encode_event, event_key
from policies.store_keys import EVENT_FIELD, ShardKeys

Argument = str | bytes | int

# KEYS: decision stream, feedback stream, then each event's trace hash.
# ARGV: entry field, the hashes' lifetime in seconds, then for each event: what makes it unique,
# its stream (1 or 2), its encoding. All of it happens or none: scripts are atomic, and so is what
# they leave in the append-only file. The lifetime is set for a known event too, which makes sure
# that something is written: only behind a write does WAIT say what replicas have.
_APPEND = """
local new = 0
for i = 3, #KEYS do
  local at = 3 * (i - 2)
  if redis.call('HEXISTS', KEYS[i], ARGV[at]) == 0 then
    local id = redis.call('XADD', KEYS[tonumber(ARGV[at + 1])], '*', ARGV[1], ARGV[at + 2])
    redis.call('HSET', KEYS[i], ARGV[at], id)
    new = new + 1
  end
  redis.call('EXPIRE', KEYS[i], ARGV[2])
end
return new
"""

# KEYS: trace hash, decision stream, feedback stream. Answers the id and encoding of each entry.
_TRACE = """
local index, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #index, 2 do
  local stream = string.sub(index[i], 1, 9) == 'feedback:' and KEYS[3] or KEYS[2]
  local entry = redis.call('XRANGE', stream, index[i + 1], index[i + 1])[1]
  if entry then found[#found + 1] = {entry[1], entry[2][2]} end
end
return found
"""


def append_command(shard: ShardKeys, events: Sequence[Event], ttl_s: int) -> list[Argument]:
    """The command that appends events of one shard, each once; it answers how many were new."""
    keys: list[Argument] = [shard.decisions, shard.feedback]
    arguments: list[Argument] = [EVENT_FIELD, ttl_s]
    for event in events:
        decision_id, unique = event_key(event)
        keys.append(shard.trace(decision_id))
        arguments += (unique, 2 if isinstance(event, FeedbackGiven) else 1, encode_event(event))
    return ["EVAL", _APPEND, len(keys), *keys, *arguments]


def trace_command(shard: ShardKeys, decision_id: str) -> list[Argument]:
    """The command that answers what `traced_events` reads."""
    return ["EVAL", _TRACE, 3, shard.trace(decision_id), shard.decisions, shard.feedback]


def traced_events(found: Iterable[tuple[bytes, bytes]]) -> list[Event]:
    """A decision's events in the order in which they were stored; unreadable ones are left out."""
    ordered = sorted(found, key=lambda entry: _position(entry[0]))
    events = [readable_event(encoded) for _, encoded in ordered]
    return [event for event in events if event is not None]


def readable_event(encoded: bytes) -> Event | None:
    """The event; None for one of a later release, or that is damaged."""
    try:
        return decode_event(encoded)
    except EventError:
        return None


def _position(entry: bytes) -> tuple[int, int]:
    """An entry's place in its stream: `ms-sequence` as numbers."""
    milliseconds, _, sequence = entry.partition(b"-")
    return int(milliseconds), int(sequence)
