"""What a store holds and how full it is: for operators, never for decisions."""

from collections.abc import Mapping

import msgspec


class StoreState(msgspec.Struct, frozen=True, kw_only=True):
    """A store as it was a moment ago.

    `decisions` (answers among them) and `feedback` count the log's entries that no export has
    trimmed. `used_bytes` and `limit_bytes` are the fullest server's; a limit of 0 is none.
    `last_runs` says, by name, when a scheduled command last succeeded (seconds since the epoch).
    """

    decisions: int = 0
    feedback: int = 0
    used_bytes: int = 0
    limit_bytes: int = 0
    last_runs: Mapping[str, float] = {}
