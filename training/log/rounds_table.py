"""Rounds as an Arrow table, which is how they lie in a file between two passes, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.log import columns
from training.log.log_facts import Whole
from training.log.log_folder import LogPlace
from training.log.rounds import Floats, LoggedRounds, RoundCounts

# Taken from the decisions as they are.
AS_LOGGED = (
    "decision_id",
    "at",
    "tenant",
    "query_hash",
    "features",
    "policy_version",
    "attributes",
    "audit",
    "out_of_distribution",
    "candidate",
    "candidate_share",
)


def rounds_table(decisions: pa.Table, arrays: Mapping[str, NDArray[Any]]) -> pa.Table:
    """The decisions' own columns, and arrays of n rows each, by their names in LoggedRounds."""
    table = decisions.select(AS_LOGGED)
    for name, array in arrays.items():
        table = table.append_column(name, _packed(array))
    return table


def rounds_of(
    table: pa.Table,
    whole: Whole,
    counts: RoundCounts,
    source: LogPlace,
    *,
    features: bool = True,
) -> LoggedRounds:
    """The rounds of a table, in its order; without features they have none, of dimension 0.

    Raises:
        InputError: features or attributes aren't what they should be.
    """
    n, arms, metrics = table.num_rows, len(whole.arms), len(whole.metrics)
    return LoggedRounds(
        decision_ids=columns.texts(table["decision_id"]),
        at=columns.numbers(table["at"]),
        tenants=columns.texts(table["tenant"]),
        query_hashes=columns.texts(table["query_hash"]),
        groups=columns.groups(table["query_hash"]),
        features=columns.features(table["features"], source)
        if features
        else np.zeros((n, 0), dtype=np.float32),
        feature_version=whole.feature_version,
        arms=whole.arms,
        action=_unpacked(table["action"], n),
        pscore=_unpacked(table["pscore"], n),
        probabilities=_unpacked(table["probabilities"], n, arms),
        eligible=_unpacked(table["eligible"], n, arms).astype(np.bool_),
        metrics=whole.metrics,
        values=_unpacked(table["values"], n, metrics),
        expected=_unpacked(table["expected"], n, arms, metrics),
        weights=_unpacked(table["weights"], n, metrics),
        policy_versions=columns.texts(table["policy_version"]),
        attributes=columns.attributes(table["attributes"], source),
        audited=columns.flags(table["audit"]),
        out_of_distribution=columns.flags(table["out_of_distribution"]),
        candidates=columns.texts(table["candidate"]),
        candidate_probabilities=_unpacked(table["candidate_probabilities"], n, arms),
        candidate_share=np.nan_to_num(columns.numbers(table["candidate_share"])),
        counts=counts,
    )


def explored_at(table: pa.Table, arms: int) -> Floats:
    """When those rounds were made whose every eligible arm could have been drawn."""
    n = table.num_rows
    eligible = _unpacked(table["eligible"], n, arms) != 0
    explored = ((_unpacked(table["probabilities"], n, arms) > 0.0) | ~eligible).all(axis=1)
    return np.asarray(columns.numbers(table["at"])[explored])


def observed(table: pa.Table, metrics: int) -> NDArray[np.bool_]:
    """(M,) which metrics were reported."""
    values = _unpacked(table["values"], table.num_rows, metrics)
    return np.asarray((~np.isnan(values)).any(axis=0))


def _packed(array: NDArray[Any]) -> Any:
    rows = np.ascontiguousarray(array.astype(np.uint8) if array.dtype == np.bool_ else array)
    if rows.ndim == 1:
        return pa.array(rows)
    width = int(np.prod(rows.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), width)


def _unpacked(column: Any, *shape: int) -> Any:
    found = columns.one_array(column)
    flat = found.flatten() if len(shape) > 1 else found
    return flat.to_numpy(zero_copy_only=False).reshape(shape)
