"""Which shards the log has, as the store notes it, and the noting of more."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from policies.shards import GROWTH_DELAY_MS, Shards
from policies.store_keys import StoreKeys
from router.log.redis_scripts import Argument

_LOGGER = logging.getLogger(__name__)

# KEYS: note, decision stream, feedback stream. ARGV: the note that was read, what to note where
# the log is empty, what to note otherwise. Answers the note as it is now.
_NOTE = """
local noted = redis.call('GET', KEYS[1]) or ''
if noted ~= ARGV[1] then return noted end
local used = noted ~= '' or redis.call('EXISTS', KEYS[2], KEYS[3]) > 0
noted = used and ARGV[3] or ARGV[2]
redis.call('SET', KEYS[1], noted)
return noted
"""


async def load_shards(
    send: Callable[[Sequence[Argument]], Awaitable[Any]], keys: StoreKeys, wanted: int
) -> Shards:
    """The log's shards, after noting more where more are wanted than there are.

    Those of a log without a note or an event count at once, and are noted even if it is only one:
    from then on somebody may write by them. More of them count after a while, by when every replica
    has seen the note. There are never fewer again: what is in a shard is still to be read.
    """
    noted: bytes | None = await send(["GET", keys.shards])
    while True:
        shards = Shards.noted(noted, keys)
        grows = len(shards.all) < wanted
        if noted and not grows:
            return shards
        at_once = shards.grown(wanted, 0)
        due = int(time.time() * 1000) + GROWTH_DELAY_MS
        later = shards.grown(wanted, due) if grows else shards
        told = (noted or b"", at_once.encoded(), later.encoded())
        names = (keys.shards, keys.decisions, keys.feedback)
        answer: bytes = await send(["EVAL", _NOTE, 3, *names, *told])
        if answer in told[1:]:
            _LOGGER.info("the log has %d shards from now on or shortly", wanted)
            return Shards.noted(answer, keys)
        noted = answer
