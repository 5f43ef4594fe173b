"""Whether a fine-tuned encoder is worth having, by the rule that reward models are chosen by.

For each fold the encoder is fine-tuned without it, the reward models are fitted on the other folds'
features by that encoder, and the fold is predicted. A row's outcome thus reaches neither the
encoder nor the reward models that predict it. The other folds' features do know their own outcomes,
so that reward models trust them too much; the fold held out shows what that costs, and the recipes
and blending weights are chosen on those held-out predictions, so that they shrink by as much. The
encoder that serves is fine-tuned on all rows, with reward models of these recipes.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from policies.encoders import Encoder
from policies.features import Featurizer
from training.encoders.fine_tune import FineTuned, fine_tune, require_fine_tuning
from training.encoders.static_table import StaticTable
from training.fit.folds import Ints, group_numbers
from training.fit.heads import arm_means
from training.fit.reward_models import FittedRewards, fit_rewards
from training.judge.variance import standard_error
from training.tables.warm_start import WarmStart

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Bools = NDArray[np.bool_]
# In a manifest's `evaluation`.
COMPARISON = "fine_tuned_encoder"
# An amount that never varies within an arm leaves nothing to be told but rounding.
_ROUNDING = 1e-9


class EncoderComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The cross-fitted squared error with both encoders, in shares of what the arms' means alone
    leave, averaged over the metrics.

    `gain` is unchanged − fine_tuned, paired by row; its `standard_error` is clustered by
    near-duplicate query. `passes` are those over the rows, by fold and, last, of all rows.
    """

    unchanged: float
    fine_tuned: float
    gain: float
    standard_error: float
    kept: bool
    passes: list[int]
    by_metric: dict[str, dict[str, float]]


class EncoderChoice(NamedTuple):
    """The comparison, and the features (n, d) and reward models of the encoder that is kept.

    `table` is the fine-tuned one where it is kept.
    """

    comparison: EncoderComparison
    table: StaticTable | None
    features: Singles
    fitted: FittedRewards


def choose_encoder(
    rows: WarmStart,
    queries: Sequence[str],
    start: StaticTable,
    folds: Ints,
    *,
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
) -> EncoderChoice:
    """Fine-tune, compare, and keep the fine-tuned encoder where it is clearly better.

    Args:
        rows: n full-information rows, their features by `start`.
        queries: the rows' n texts.
        start: the encoder to start from.
        folds: (n,) of the rows; near-duplicates share one.
        seed: of all randomness.
        advance: told of steps done, of `choice_steps(folds)`.

    Raises EncoderError where the libraries for fine-tuning aren't installed.
    """
    require_fine_tuning()
    groups = group_numbers(rows.query_hashes)

    def tuned_on(some: Bools) -> FineTuned:
        learned = np.flatnonzero(some)
        texts = [queries[row] for row in learned.tolist()]
        advance(1)
        return fine_tune(start, texts, rows.values[learned], groups[learned], seed=seed)

    by_fold: dict[int, Singles] = {}
    passes = []
    for fold in np.unique(folds).tolist():
        tuned = tuned_on(folds != fold)
        by_fold[fold] = Featurizer(tuned.table.encoder()).features(queries)
        passes.append(tuned.passes)
    tuned = tuned_on(np.ones(len(folds), dtype=np.bool_))
    features = Featurizer(tuned.table.encoder()).features(queries)
    old = fit_rewards(rows.features, rows.values, folds, rows.metrics, seed=seed, advance=advance)
    new = fit_rewards(
        features,
        rows.values,
        folds,
        rows.metrics,
        seed=seed,
        advance=advance,
        fold_features=by_fold,
    )
    comparison = compare(
        rows, old.out_of_fold, new.out_of_fold, groups, passes=[*passes, tuned.passes]
    )
    if comparison.kept:
        return EncoderChoice(comparison, tuned.table, features, new)
    return EncoderChoice(comparison, None, rows.features, old)


def on_written_encoder(rows: WarmStart, choice: EncoderChoice, written: Encoder) -> WarmStart:
    """The rows with the chosen features, named by the encoder that serves them."""
    return rows._replace(features=choice.features, feature_version=Featurizer(written).version)


def choice_steps(folds: Ints) -> int:
    """Calls of `advance` in `choose_encoder`."""
    return 3 * (len(np.unique(folds)) + 1)


def choice_line(found: EncoderComparison) -> str:
    """The comparison in a sentence."""
    verdict = (
        "clearly better, so it is kept"
        if found.kept
        else "not clearly better, so the encoder stays as it is"
    )
    return (
        "squared error out of fold, in shares of what the arms' means leave: "
        f"{found.unchanged:.4f} with the encoder as it is, {found.fine_tuned:.4f} fine-tuned "
        f"(gain {found.gain:+.4f} ± {found.standard_error:.4f}): {verdict}"
    )


def compare(
    rows: WarmStart, unchanged: Floats, fine_tuned: Floats, groups: Ints, *, passes: Sequence[int]
) -> EncoderComparison:
    """The comparison of two encoders' predictions (n, A, M) of rows that they never saw.

    The fine-tuned encoder is kept where its gain is beyond one standard error.
    """
    means = arm_means(rows.values, np.zeros(len(rows.metrics)))
    base = _errors(np.broadcast_to(means, rows.values.shape), rows.values)
    old, new = _errors(unchanged, rows.values), _errors(fine_tuned, rows.values)
    left = base.sum(axis=0)
    told = left > _ROUNDING * _errors(np.zeros(rows.values.shape), rows.values).sum(axis=0)
    shares = (old - new)[:, told] / left[told]
    paired = len(shares) * shares.mean(axis=1) if told.any() else np.zeros(len(old))
    gain, error = float(paired.mean()), standard_error(paired, groups)
    by_metric = {
        metric: {
            "unchanged": float(old[:, m].sum() / left[m]),
            "fine_tuned": float(new[:, m].sum() / left[m]),
        }
        for m, metric in enumerate(rows.metrics)
        if told[m]
    }
    return EncoderComparison(
        unchanged=_mean(metric["unchanged"] for metric in by_metric.values()),
        fine_tuned=_mean(metric["fine_tuned"] for metric in by_metric.values()),
        gain=gain,
        standard_error=error,
        kept=gain > error,
        passes=list(passes),
        by_metric=by_metric,
    )


def _errors(predicted: Floats, values: Floats) -> Floats:
    """(n, M) squared errors, summed over the arms whose outcome is known."""
    known = ~np.isnan(values)
    return np.asarray(np.where(known, (predicted - np.nan_to_num(values)) ** 2, 0.0).sum(axis=1))


def _mean(values: Iterable[float]) -> float:
    collected = list(values)
    return sum(collected) / len(collected) if collected else 1.0
