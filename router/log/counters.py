"""What the log counts."""

import msgspec


class LogCounters(msgspec.Struct, kw_only=True):
    """What the log has done since it started, and how it stands.

    Counts of events: `recorded` (taken in), `stored` (new in the store, replayed ones included),
    `duplicates` (the store had them already), `spooled` (written to disk), `replayed` (sent from
    disk to the store), `overflowed` (found the queue full and went to disk), `lost` (not encodable,
    or past the last resort's bound). Others: `store_failures`, `spool_failures` (calls that
    failed), `damaged` (spool segments that a crash tore or the disk altered).
    """

    recorded: int = 0
    stored: int = 0
    duplicates: int = 0
    spooled: int = 0
    replayed: int = 0
    overflowed: int = 0
    lost: int = 0
    store_failures: int = 0
    spool_failures: int = 0
    damaged: int = 0
    queue_depth: int = 0
    spool_bytes: int = 0
    store_up: bool = False
