"""Whether the later queries of a log differ from the earlier ones: tests on one look, by Holm.

Each question feature's mean is compared, and the whole feature vector by a classifier two-sample
test (Lopez-Paz and Oquab 2017): a logistic model learns on one half of the queries to tell early
from late, and its scores must differ on the other half. Standard errors are robust to repeated
queries; near-duplicates never stand on both sides of the classifier's split. Holm's (1979)
correction holds the chance of any false alarm, of one report, at the rate.
"""

import math
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from policies.question import QUESTION_FEATURES
from training.fit.feature_scale import fit_scale
from training.fit.folds import Ints, grouped_folds
from training.fit.threads import one_thread
from training.judge.ope import standard_error
from training.log.rounds import Bools, Floats, LoggedRounds
from training.report.drift import DEFAULT_RATE, LATER, P_VALUE, DriftTest

# On each side, below which normal tails aren't to be trusted at rates this small.
MIN_SIDE = 200
# Distinct queries of which a feature must say something else than of most: a rarer one has tails
# that aren't normal (0.0085 of null logs beyond a z meant for 0.0021, measured).
MIN_VARIED = 20
_THIS_LOOK = "of one report (Holm)"


@one_thread()
def feature_shift(
    rounds: LoggedRounds, rate: float = DEFAULT_RATE, *, recent: float = 0.3, seed: int = 0
) -> list[DriftTest]:
    """The latest `recent` share of the rounds against those before.

    Empty where either side has fewer than MIN_SIDE distinct queries. Otherwise the classifier's
    test, then those of the question features that shifted.
    """
    if len(rounds) == 0:
        return []
    late = rounds.at > np.quantile(rounds.at, 1.0 - recent)
    sides = [len(np.unique(rounds.groups[side])) for side in (late, ~late)]
    if min(sides) < MIN_SIDE:
        return []
    questions = rounds.features[:, -len(QUESTION_FEATURES) :].astype(np.float64)
    names = ["all features"]
    z = [_classifier_z(rounds, late, seed)]
    changes = [""]
    for name, column in zip(QUESTION_FEATURES, questions.T, strict=True):
        names.append(name)
        z.append(mean_difference_z(column, late, rounds.groups))
        changes.append(
            f"its mean went from {column[~late].mean():.3f} to {column[late].mean():.3f}"
        )
    changes[0] = "a classifier can tell later queries from earlier ones"
    tests = _holm(names, z, changes, rate, len(rounds), float(rounds.at[late].min()))
    return [tests[0], *(test for test in tests[1:] if test.alarm)]


def mean_difference_z(values: Floats, late: Bools, groups: Ints) -> float:
    """The difference of the sides' means, in standard errors robust to repeated queries.

    A query that stands on both sides counts as one: its rows' influences add up. The error is at
    least that of rows with one common mean, as the null has it: around each side's own mean it is
    too small where a rare value happens to be on one side alone. 0 where fewer than MIN_VARIED
    queries differ from the most.
    """
    share = late.mean()
    varied = len(np.unique(groups[values != np.median(values)]))
    if share in (0.0, 1.0) or varied < MIN_VARIED:
        return 0.0
    means = np.where(late, values[late].mean(), values[~late].mean())
    influence = (values - means) * np.where(late, 1.0 / share, -1.0 / (1.0 - share))
    under_null = float(values.std()) * math.sqrt(1.0 / (share * (1.0 - share) * len(values)))
    error = max(standard_error(influence, groups), under_null)
    return float(values[late].mean() - values[~late].mean()) / error


def _classifier_z(rounds: LoggedRounds, late: Bools, seed: int) -> float:
    train = grouped_folds(rounds.groups, 2, seed) == 0
    if len(np.unique(late[train])) < 2 or len(np.unique(late[~train])) < 2:
        return 0.0
    scale = fit_scale(rounds.features[train])
    model: Any = LogisticRegression(C=0.1, max_iter=200)
    model.fit(scale.apply(rounds.features[train]), late[train])
    scores = model.decision_function(scale.apply(rounds.features[~train]))
    # One-sided: only scores that are higher for later queries tell of a difference.
    return max(mean_difference_z(scores, late[~train], rounds.groups[~train]), 0.0)


def _holm(
    names: list[str], z: list[float], changes: list[str], rate: float, rows: int, since: float
) -> list[DriftTest]:
    """Holm's step-down on two-sided p-values (one-sided z ≥ 0 is only made more careful by it)."""
    p_values = np.array([math.erfc(abs(value) / math.sqrt(2.0)) for value in z])
    order = np.argsort(p_values, kind="stable")
    thresholds = np.empty(len(z))
    thresholds[order] = rate / (len(z) - np.arange(len(z)))
    refused = np.zeros(len(z), dtype=np.bool_)
    for index in order:
        if p_values[index] > thresholds[index]:
            break
        refused[index] = True
    return [
        DriftTest(
            kind=LATER,
            name=name,
            alarm=bool(refused[index]),
            false_alarm_rate=rate,
            control=_THIS_LOOK,
            statistic=P_VALUE,
            value=float(p_values[index]),
            threshold=float(thresholds[index]),
            rows=rows,
            since=since if refused[index] else None,
            finding=changes[index] if refused[index] else "",
        )
        for index, name in enumerate(names)
    ]
