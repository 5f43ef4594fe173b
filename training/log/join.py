"""From the log's tables to LoggedRounds: a log in one piece, joined in memory.

The steps are those of a large log's buckets (`training.log.shuffle`): `join_values`, what the whole
log tells (`training.log.log_facts`), `settled`.
"""

import math
from collections.abc import Sequence

from training.errors import EmptyLogError
from training.log import columns
from training.log.distinct import Log
from training.log.joined_values import join_values
from training.log.log_facts import Whole, whole_of
from training.log.log_folder import LogPlace
from training.log.rounds import LoggedRounds
from training.log.rounds_table import rounds_of
from training.log.settled_rounds import counts_of, settled


def join_rounds(
    log: Log,
    *,
    source: LogPlace,
    arms: Sequence[str] | None = None,
    feature_version: str | None = None,
    since: float = -math.inf,
) -> LoggedRounds:
    """The log's rounds.

    Args:
        log: what `read_log` gave.
        source: the log's place, for messages.
        arms: put the arm axis into this order; arms of the log that it lacks follow.
        feature_version: keep rounds with these features; without it, the latest decision's.
        since: keep rounds made later than this.

    Raises:
        InputError: a propensity, an arm or a feature row in the log is wrong.
        EmptyLogError: no round has such features.
    """
    versions, names = columns.coded(log.decisions["feature_version"])
    wanted = feature_version if feature_version is not None else str(names[versions[-1]])
    require_version(wanted, names.tolist(), source)
    joined = join_values(log, wanted, source)
    whole = whole_of(joined.facts, wanted, arms or ())
    require_metrics(whole, source)
    found = settled(joined, whole, source, since)
    return rounds_of(found.table, whole, counts_of(whole, [found]), source)


def require_version(wanted: str, found: Sequence[str], source: LogPlace) -> None:
    """That decisions were logged with such features; raises EmptyLogError."""
    if wanted and wanted in found:
        return
    known = ", ".join(sorted({version or "(none)" for version in found}))
    raise EmptyLogError(
        f"{source}: no decision was logged with the features {wanted or '(any)'!r}; it has "
        f"{known}: train with the encoder that served, or export a newer log"
    )


def require_metrics(whole: Whole, source: LogPlace) -> None:
    """That anything was reported or expected; raises EmptyLogError."""
    if not whole.metrics:
        raise EmptyLogError(
            f"{source}: no decision has feedback, and nothing was expected of any arm: report to "
            "/v1/feedback, and export again"
        )
