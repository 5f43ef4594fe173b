"""What a policy is worth on rows whose every outcome is known: true values, no estimation.

Query text alone recovers a tenth to a fifth of the gap between the best fixed arm and the oracle,
on the recorded tables and in print, so a value is always reported beside what the same mix of arms
would earn at random, and beside the value on datasets that training never saw.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from policies.errors import PolicyFitError
from policies.policy import Policy, utilities
from training.amounts import is_amount
from training.errors import InputError
from training.tables.outcomes import Floats, OutcomeTable

# The sweep's weights, per spread of the arms' mean amounts: from where cost decides nothing to
# where it decides everything.
_SWEEP = np.geomspace(1e-3, 3.0, 80).tolist()
_NEARLY_ALL = 0.99

Weights = dict[str, float]
Means = dict[str, float]


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's true means under one objective, greedy, and those of a random policy of its mix.

    `standard_error` is that of `value`, `gain_standard_error` that of value − same_mix_random.
    """

    objective: Weights
    value: Means
    same_mix_random: Means
    share: dict[str, float]
    standard_error: Means
    gain_standard_error: Means


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """The same recipe refitted without one dataset, on that dataset's evaluated rows.

    `pooled` is the policy itself on the same rows; `trained_on` says which rows were refitted.
    """

    dataset: str
    rows: int
    objective: Weights
    value: Means
    pooled: Means
    same_mix_random: Means
    best_fixed: Means
    share: dict[str, float]
    trained_on: str


class OutcomeReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that `evaluate --outcomes` prints."""

    arms: dict[str, Means]
    oracle: Means
    per_dataset_best: Means
    curve: list[CurvePoint]
    leave_one_dataset_out: list[LeftOut]


class Choices(NamedTuple):
    """Greedy choices (n,) on a table's rows and the values (n, M) they earn."""

    arm: NDArray[np.intp]
    earned: Floats


def require_arms(policy: Policy, table: OutcomeTable, feature_version: str) -> list[int]:
    """The policy's arm columns, in the table's order.

    Raises:
        PolicyFitError: it lacks an arm of the table, or reads other features.
        InputError: the table has no `quality`.
    """
    if "quality" not in table.metrics:
        raise InputError(
            f"has no metric 'quality' (it has {', '.join(table.metrics)}): evaluation needs it",
            field=table.sources[0],
        )
    missing = [arm for arm in table.arms if arm not in policy.arms]
    if missing:
        raise PolicyFitError(
            f"policy {policy.version} doesn't know the table's arms {', '.join(missing)} (it "
            f"knows {', '.join(policy.arms)}): train one on these arms",
            field="arms",
        )
    if policy.feature_version not in ("", feature_version):
        raise PolicyFitError(
            f"policy {policy.version} reads features {policy.feature_version!r}, the encoder makes "
            f"{feature_version!r}: name the policy's encoder in --config",
            field="features",
        )
    return [policy.arms.index(arm) for arm in table.arms]


def sweep(table: OutcomeTable, expected: Floats, metrics: Sequence[str]) -> list[CurvePoint]:
    """Quality alone, then quality against each amount that the policy expects, ever dearer.

    The sweep of an amount ends with the first objective at which nearly all queries go to the arm
    that needs least of it, as they do at every dearer one.
    """

    def point(weights: Weights) -> CurvePoint:
        return curve_point(table, choose_greedily(table, expected, metrics, weights), weights)

    points = [point({"quality": 1.0})]
    for metric, spread, thriftiest in _amount_spreads(table, metrics):
        for weight in _SWEEP:
            points.append(point({"quality": 1.0, metric: -float(f"{weight / spread:.3g}")}))
            if points[-1].share[thriftiest] >= _NEARLY_ALL:
                break
    return points


def _amount_spreads(table: OutcomeTable, metrics: Sequence[str]) -> list[tuple[str, float, str]]:
    """Amounts that the policy expects and that differ between arms: by how much their means do,
    and the arm with the least.
    """
    spreads = []
    for m, metric in enumerate(table.metrics):
        values = table.values[:, :, m]
        if metric in metrics and is_amount(metric, values):
            means = _column_means(values)
            if np.ptp(means) > 0.0:
                spreads.append((metric, float(np.ptp(means)), table.arms[int(means.argmin())]))
    return spreads


def arm_report(table: OutcomeTable) -> dict[str, Means]:
    """Always taking one arm, on the rows where it is known."""
    return {
        arm: _means(table.values[~np.isnan(table.values[:, a, 0]), a], table.metrics)
        for a, arm in enumerate(table.arms)
    }


def oracle(table: OutcomeTable) -> Means:
    """The best arm of every row in hindsight; among equals the one with the least amounts."""
    return _means(_take(table.values, _best_arms(table)), table.metrics)


def _best_arms(table: OutcomeTable) -> NDArray[np.intp]:
    quality = np.nan_to_num(table.values[:, :, 0], nan=-np.inf)
    amounts = np.zeros_like(quality)
    for m, metric in enumerate(table.metrics):
        values = table.values[:, :, m]
        if metric != "quality" and is_amount(metric, values):
            amounts += np.nan_to_num(values) / max(float(np.nanmax(np.abs(values))), 1e-12)
    ties = quality >= quality.max(axis=1, keepdims=True)
    return np.asarray(np.where(ties, amounts, np.inf).argmin(axis=1))


def per_dataset_best(table: OutcomeTable) -> Means:
    """Each dataset's best fixed arm by quality, in hindsight on these rows."""
    chosen = np.zeros(len(table), dtype=np.intp)
    for dataset in set(table.datasets):
        rows = np.flatnonzero([name == dataset for name in table.datasets])
        quality = table.values[rows, :, 0]
        means = np.where(np.all(np.isnan(quality), axis=0), -np.inf, _column_means(quality))
        chosen[rows] = means.argmax()
    return _means(_take(table.values, chosen), table.metrics)


def _column_means(values: Floats) -> Floats:
    known = ~np.isnan(values)
    return np.asarray(np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1))


def choose_greedily(
    table: OutcomeTable, expected: Floats, metrics: Sequence[str], weights: Mapping[str, float]
) -> Choices:
    """The arm of highest expected utility among those whose outcome is known, row by row."""
    known = ~np.isnan(table.values[:, :, 0])
    scores = np.where(known, utilities(expected, metrics, weights), -np.inf)
    arm = scores.argmax(axis=1)
    return Choices(arm, _take(table.values, arm))


def curve_point(table: OutcomeTable, choices: Choices, weights: Mapping[str, float]) -> CurvePoint:
    """The point that these choices make."""
    share = np.bincount(choices.arm, minlength=len(table.arms)) / len(table)
    random = mixed(table, share)
    gain = choices.earned - random
    return CurvePoint(
        objective=dict(weights),
        value=_means(choices.earned, table.metrics),
        same_mix_random=_means(random, table.metrics),
        share=dict(zip(table.arms, share.tolist(), strict=True)),
        standard_error=_errors(choices.earned, table.metrics),
        gain_standard_error=_errors(gain, table.metrics),
    )


def mixed(table: OutcomeTable, share: Floats) -> Floats:
    """(n, M) what drawing arms at these shares, blind to the query, earns on average on each row.

    Where a row lacks an arm, the others' shares are scaled up.
    """
    known = ~np.isnan(table.values)
    weights = known * share[None, :, None]
    total = weights.sum(axis=1)
    sums = (np.where(known, table.values, 0.0) * weights).sum(axis=1)
    return np.where(total > 0.0, sums / np.where(total > 0.0, total, 1.0), np.nan)


def _take(values: Floats, arm: NDArray[np.intp]) -> Floats:
    return np.asarray(values[np.arange(len(values)), arm])


def _means(values: Floats, metrics: Sequence[str]) -> Means:
    means = _column_means(values)
    counts = (~np.isnan(values)).sum(axis=0).tolist()
    return {metric: float(means[m]) for m, metric in enumerate(metrics) if counts[m]}


def _errors(values: Floats, metrics: Sequence[str]) -> Means:
    errors = {}
    for m, metric in enumerate(metrics):
        known = values[~np.isnan(values[:, m]), m]
        if len(known) > 1:
            errors[metric] = float(known.std(ddof=1) / np.sqrt(len(known)))
    return errors
