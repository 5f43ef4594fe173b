"""From the log's tables to LoggedRounds: decisions, answers and feedback joined by decision id.

The drawn arm counts, whichever arm a fallback ran in its place: that is what a policy decides. A
metric nobody reported is NaN, never a guess; late feedback joins like any other. Feedback wins over
the router's own measurement of the same metric.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from policies.features import LOGGED_DTYPE, unpack_features
from policies.loading import MOST
from training.errors import EmptyLogError, InputError
from training.fit.folds import Ints, group_numbers
from training.log.delay import pending
from training.log.log_files import Log
from training.log.log_folder import LogPlace
from training.log.rounds import Bools, Floats, LoggedRounds, RoundCounts

# How far a logged propensity may lie from the logged probability of the drawn arm.
_ROUNDING = 1e-6

# The end of the year 9999: no calendar knows later times.
_LATEST = 253_402_300_799.0

# A metric reported in fewer rounds than these (or this share of them) is taken as never reported.
MIN_VALUES = 20
RARE_SHARE = 0.01
# Larger values are mistakes, and one of them would outweigh every other in any fit.
MAX_VALUE = 1e9


def join_rounds(
    log: Log,
    *,
    source: LogPlace,
    arms: Sequence[str] | None = None,
    feature_version: str | None = None,
) -> LoggedRounds:
    """The log's rounds.

    Args:
        log: what `read_log` gave.
        source: the log's place, for messages.
        arms: put the arm axis into this order; arms of the log that it lacks follow.
        feature_version: keep rounds with these features; without it, the latest decision's.

    Raises:
        InputError: a propensity, an arm or a feature row in the log is wrong.
        EmptyLogError: no round has such features.
    """
    decisions: Any = log.decisions
    versions = _texts(decisions["feature_version"])
    wanted = feature_version if feature_version is not None else str(versions[-1])
    same = versions == wanted
    if not same.any() or not wanted:
        found = ", ".join(sorted({str(version) or "(none)" for version in versions}))
        raise EmptyLogError(
            f"{source}: no decision was logged with the features {wanted or '(any)'!r}; it has "
            f"{found}: train with the encoder that served, or export a newer log"
        )
    decisions = decisions.filter(pa.array(same))
    n = decisions.num_rows
    ids, hashes = _texts(decisions["decision_id"]), _texts(decisions["query_hash"])
    names = _arm_order(decisions, arms)
    drawn = _positions(_texts(decisions["arm"]), names)
    probabilities = _scatter(decisions, "probabilities", names)
    eligible = _eligible(decisions, names)
    pscore = _numbers(decisions["propensity"])
    _check_propensities(ids, drawn, pscore, probabilities, eligible, source)
    at = _times(decisions, source)
    values, metrics, counted = _join_values(log, ids)
    with_feedback = _rows_with_any(values, n)
    rare = _drop_rare(values, n)
    expected_by, weights_by = _expected(decisions, names), _weights(decisions, n)
    # A metric that is only weighed, never reported nor expected, counts as 0: it has no column.
    metrics = tuple(dict.fromkeys((*metrics, *expected_by)))
    metrics = tuple(sorted(metrics, key=lambda name: name != "quality"))[:MOST]
    if not metrics:
        raise EmptyLogError(
            f"{source}: no decision has feedback, and nothing was expected of any arm: report to "
            "/v1/feedback, and export again"
        )
    nothing = np.full(n, np.nan)
    rounds = LoggedRounds(
        decision_ids=ids,
        at=at,
        tenants=_texts(decisions["tenant"]),
        query_hashes=hashes,
        groups=group_numbers(hashes.tolist()),
        features=_features(decisions, source),
        feature_version=wanted,
        arms=names,
        action=drawn,
        pscore=pscore,
        probabilities=probabilities,
        eligible=eligible,
        metrics=metrics,
        values=np.column_stack([values.get(metric, nothing) for metric in metrics]),
        expected=np.stack(
            [expected_by.get(m, np.full((n, len(names)), np.nan)) for m in metrics], axis=2
        ),
        weights=np.column_stack([weights_by.get(metric, np.zeros(n)) for metric in metrics]),
        policy_versions=_texts(decisions["policy_version"]),
        attributes=_attributes(decisions["attributes"], source),
        audited=_flags(decisions["audit"]),
        out_of_distribution=_flags(decisions["out_of_distribution"]),
        candidates=_texts(decisions["candidate"]),
        candidate_probabilities=_candidate_probabilities(decisions, names),
        candidate_share=np.nan_to_num(_numbers(decisions["candidate_share"].cast(pa.float64()))),
        counts=RoundCounts(
            decisions=n,
            with_feedback=with_feedback,
            feedback_values=log.feedback.num_rows,
            orphan_feedback=counted["orphans"],
            absurd_feedback=counted["absurd"],
            rare_metrics=rare,
            superseded_feedback=log.superseded,
            fallbacks=counted["fallbacks"],
            duplicate_rows=sum(log.duplicates.values()),
            other_features=int((~same).sum()),
            unexplored=int((~((probabilities > 0.0) | ~eligible).all(axis=1)).sum()),
        ),
    )
    return _grown(rounds, log)


def _grown(rounds: LoggedRounds, log: Log) -> LoggedRounds:
    """The rounds in order of time, without those whose feedback may still be on its way."""
    young = pending(rounds.at, _reported_at(log, rounds.decision_ids), _end_of(log))
    counts = msgspec.structs.replace(rounds.counts, pending=int(young.sum()))
    rounds = replace(rounds, counts=counts)
    return rounds.rows(np.flatnonzero(~young)[np.argsort(rounds.at[~young], kind="stable")])


def _reported_at(log: Log, ids: NDArray[np.object_]) -> Floats:
    """(n,) when each decision's last feedback came, NaN where none has."""
    feedback: Any = log.feedback
    at, row_of = np.full(len(ids), np.nan), {name: row for row, name in enumerate(ids.tolist())}
    rows = [row_of.get(name, -1) for name in feedback["decision_id"].to_pylist()]
    index = np.array(rows, dtype=np.intp)
    np.fmax.at(at, index[index >= 0], _numbers(feedback["at"])[index >= 0])
    return at


def _end_of(log: Log) -> float:
    """The time of the log's last event."""
    tables: list[Any] = [log.decisions, log.answers, log.feedback]
    return max(float(_numbers(table["at"]).max()) for table in tables if table.num_rows)


def _drop_rare(values: dict[str, Floats], n: int) -> list[str]:
    """Forget metrics reported so rarely that they say nothing: what was expected of them stands.

    Otherwise one stray value would make a metric known, and all other rounds lack it.
    """
    enough = max(MIN_VALUES, RARE_SHARE * n) if n >= MIN_VALUES else 1
    rare = [m for m, column in values.items() if np.count_nonzero(~np.isnan(column)) < enough]
    for metric in rare:
        values[metric][:] = np.nan
    return rare


def _rows_with_any(values: dict[str, Floats], n: int) -> int:
    known = np.zeros(n, dtype=np.bool_)
    for column in values.values():
        known |= ~np.isnan(column)
    return int(known.sum())


def _texts(column: Any) -> NDArray[np.object_]:
    return np.array([value or "" for value in column.to_pylist()], dtype=object)


def _numbers(column: Any) -> Floats:
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _flags(column: Any) -> Bools:
    return np.array([bool(value) for value in column.to_pylist()], dtype=np.bool_)


def _times(decisions: Any, source: LogPlace) -> Floats:
    """(n,) when each was made.

    Raises:
        InputError: one is no time of a decision.
    """
    at = _numbers(decisions["at"])
    wrong = ~((at >= 0.0) & (at <= _LATEST))  # written so that NaN is refused as well
    if wrong.any():
        raise InputError(
            f"{int(wrong.sum())} decisions were made at no time that can be, such as "
            f"{at[wrong][0]:g} seconds since 1970: the log was altered or its writer is broken; "
            "export it again",
            path=source / "decisions",
            field="at",
        )
    return at


def _attributes(column: Any, source: LogPlace) -> NDArray[np.object_]:
    """(n,) a dict each; equal ones are decoded once.

    Raises:
        InputError: one isn't a JSON object.
    """
    decoded: dict[str, dict[str, Any]] = {"": {}}
    rows = np.empty(len(column), dtype=object)
    for row, text in enumerate(column.to_pylist()):
        if (text or "") not in decoded:
            try:
                decoded[text] = msgspec.json.decode(text, type=dict[str, Any])
            except msgspec.DecodeError as error:
                raise InputError(
                    f"row {row + 1} holds no JSON object ({error}): the log was altered or its "
                    "writer is broken; export it again",
                    path=source / "decisions",
                    field="attributes",
                ) from error
        rows[row] = decoded[text or ""]
    return rows


def _candidate_probabilities(decisions: Any, names: Sequence[str]) -> Floats:
    """(n, A), 0 in rows without a candidate."""
    lengths = decisions["candidate_probabilities"].combine_chunks().value_lengths().fill_null(0)
    given = lengths.to_numpy(zero_copy_only=False) > 0
    matrix = np.zeros((decisions.num_rows, len(names)))
    if given.any():
        with_one = decisions.filter(pa.array(given))
        matrix[given] = _scatter(with_one, "candidate_probabilities", names)
    return matrix


def _arm_order(decisions: Any, arms: Sequence[str] | None) -> tuple[str, ...]:
    """The arms asked for, then those of the log in order of appearance."""
    logged = _flat(decisions["arms"])[1].unique().to_pylist()
    return tuple(dict.fromkeys((*(arms or ()), *logged)))


def _flat(column: Any) -> tuple[Ints, Any]:
    """A list column as (row of each item, the items)."""
    lists = column.combine_chunks()
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lists)), lengths), lists.flatten()


def _positions(values: NDArray[np.object_], names: Sequence[str]) -> Ints:
    index = {name: position for position, name in enumerate(names)}
    return np.array([index.get(value, -1) for value in values.tolist()], dtype=np.intp)


def _arm_columns(decisions: Any, names: Sequence[str]) -> tuple[Ints, Ints]:
    """(row, arm position) of every logged arm of every decision, flattened."""
    rows, flat = _flat(decisions["arms"])
    return rows, _positions(np.array(flat.to_pylist(), dtype=object), names)


def _scatter(decisions: Any, column: str, names: Sequence[str]) -> Floats:
    """(n, A) from a list column that is aligned with `arms`; 0 where an arm wasn't configured."""
    rows, columns = _arm_columns(decisions, names)
    items, flat = _flat(decisions[column])
    if len(items) != len(rows) or (items != rows).any():
        raise InputError(f"{column} and arms have different lengths: export the log again")
    matrix = np.zeros((decisions.num_rows, len(names)))
    matrix[rows, columns] = flat.to_numpy(zero_copy_only=False)
    return matrix


def _eligible(decisions: Any, names: Sequence[str]) -> Bools:
    rows, flat = _flat(decisions["eligible"])
    matrix = np.zeros((decisions.num_rows, len(names)), dtype=np.bool_)
    columns = _positions(np.array(flat.to_pylist(), dtype=object), names)
    matrix[rows[columns >= 0], columns[columns >= 0]] = True
    return matrix


def _expected(decisions: Any, names: Sequence[str]) -> dict[str, Floats]:
    """By metric, (n, A) what the serving policy expected; NaN where it said nothing."""
    arms = decisions["arms"].to_pylist()
    index = {name: position for position, name in enumerate(names)}
    matrices: dict[str, Floats] = {}
    for row, pairs in enumerate(decisions["expected"].to_pylist()):
        for metric, per_arm in pairs or ():
            if metric not in matrices:
                matrices[metric] = np.full((decisions.num_rows, len(names)), np.nan)
            matrices[metric][row, [index[arm] for arm in arms[row]]] = per_arm
    return matrices


def _weights(decisions: Any, n: int) -> dict[str, Floats]:
    """By metric, (n,) each request's weight."""
    weights: dict[str, Floats] = {}
    for row, pairs in enumerate(decisions["weights"].to_pylist()):
        for metric, weight in pairs or ():
            weights.setdefault(metric, np.zeros(n))[row] = weight
    return weights


def _check_propensities(
    ids: NDArray[np.object_],
    drawn: Ints,
    pscore: Floats,
    probabilities: Floats,
    eligible: Bools,
    source: LogPlace,
) -> None:
    def refuse(wrong: Bools, field: str, what: str) -> None:
        if wrong.any():
            first = ids[int(wrong.argmax())]
            raise InputError(
                f"{what} in {int(wrong.sum())} decisions, first in {first}: the log was altered "
                "or its writer is broken; export it again",
                path=source / "decisions",
                field=field,
            )

    refuse(drawn < 0, "arm", "the drawn arm isn't among the decision's arms")
    refuse(~((pscore > 0.0) & (pscore <= 1.0)), "propensity", "isn't within (0, 1]")
    logged = probabilities[np.arange(len(drawn)), drawn]
    # Written so that NaN is refused as well.
    differs = ~(np.abs(logged - pscore) <= _ROUNDING)
    refuse(differs, "propensity", "isn't the drawn arm's probability")
    total = np.abs(probabilities.sum(axis=1) - 1.0)
    refuse(~(total <= _ROUNDING), "probabilities", "don't sum to 1")
    refuse(~eligible[np.arange(len(drawn)), drawn], "eligible", "lacks the drawn arm")


def _features(decisions: Any, source: LogPlace) -> NDArray[np.float32]:
    rows = [value or b"" for value in decisions["features"].to_pylist()]
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or lengths == {0}:
        raise InputError(
            "decisions of one feature version have rows of different lengths, or none: export "
            "the log again",
            path=source / "decisions",
            field="features",
        )
    size = lengths.pop()
    features = unpack_features(rows, size // LOGGED_DTYPE.itemsize) if size % 2 == 0 else None
    if features is None or not np.isfinite(features).all():
        raise InputError(
            "feature rows aren't float16 numbers: the log was altered or its writer is broken; "
            "export it again",
            path=source / "decisions",
            field="features",
        )
    return features


def _join_values(
    log: Log, ids: NDArray[np.object_]
) -> tuple[dict[str, Floats], tuple[str, ...], dict[str, int]]:
    """By metric (n,) values; the metrics; counts of fallbacks and of feedback without decision."""
    decisions: Any = log.decisions
    row_of = {decision: row for row, decision in enumerate(ids.tolist())}
    known = set(decisions["decision_id"].to_pylist())
    values: dict[str, Floats] = {}
    counted = {"fallbacks": 0, "orphans": 0, "absurd": 0}

    def put(decision: str, metric: str, value: float | None) -> None:
        row = row_of.get(decision)
        if row is None or value is None:
            return
        if not abs(value) <= MAX_VALUE:
            counted["absurd"] += 1
        else:
            values.setdefault(metric, np.full(len(ids), np.nan))[row] = value

    answers: Any = log.answers
    drawn = dict(
        zip(
            decisions["decision_id"].to_pylist(),
            decisions["arm"].to_pylist(),
            strict=True,
        )
    )
    for decision, arm, measured in zip(
        answers["decision_id"].to_pylist(),
        answers["executed_arm"].to_pylist(),
        answers["metrics"].to_pylist(),
        strict=True,
    ):
        counted["fallbacks"] += decision in row_of and drawn.get(decision) != arm
        for metric, value in measured or ():
            put(decision, metric, value)
    feedback: Any = log.feedback
    for decision, metric, value in zip(
        feedback["decision_id"].to_pylist(),
        feedback["metric"].to_pylist(),
        feedback["value"].to_pylist(),
        strict=True,
    ):
        counted["orphans"] += decision not in known
        put(decision, metric, value)
    return values, tuple(values), counted
