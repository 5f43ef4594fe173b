"""Whether a log still is what its policy takes it to be: each test with its false-alarm rate.

propensities  draws against the logged probabilities, over the whole log, and by tenant
expectations  reported metric − what the serving policy expected of the drawn arm, by arm and metric
queries       the log's queries against a policy's training rows, where its artifact holds them

All are e-processes (`policies.sequential.sequential_test`): a rate holds over all of a stream,
however often it is looked at; where a test runs one stream each for several tenants or arms, each
gets an equal part of the rate (Bonferroni).
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from policies.novelty import KnownQueries
from policies.sequential.feature_drift import FeatureDrift
from policies.sequential.propensity_test import PropensityTest
from policies.sequential.sequential_test import Floats, SequentialTest
from training.amounts import is_amount
from training.log.rounds import LoggedRounds

DEFAULT_RATE = 0.01
# A tenant or an arm with fewer rounds is left to the others' tests.
MIN_STREAM = 100
# The mean residual of a share may lie so far from 0 before the policy is said to be off; that of
# an amount so many of its standard deviations.
SHARE_TOLERANCE, AMOUNT_TOLERANCE = 0.03, 0.1
# An amount's residual counts in standard deviations (of those before it), cut at so many.
_CUT = 4.0
_STAKES = (0.05, 0.1, 0.2, 0.4, 0.8)
# Residuals of an amount from which its first standard deviation is taken.
_BURN_IN = 30


class DriftTest(msgspec.Struct, frozen=True, kw_only=True):
    """One test: its evidence, when it alarmed (seconds since the epoch), what it found.

    `kind` is what is tested, `name` on which stream. `statistic` says what `value` is; the alarm is
    raised beyond `threshold`. `control` says what the false-alarm rate covers.
    """

    kind: str
    name: str
    alarm: bool
    false_alarm_rate: float
    control: str
    statistic: str
    value: float
    threshold: float
    rows: int
    since: float | None = None
    finding: str = ""


DRAWS = "draws against propensities"
EXPECTATIONS = "metrics against expectations"
QUERIES = "queries against training rows"
LATER = "later queries against earlier"
E_VALUE, P_VALUE = "log e-value", "p-value"
WHOLE_STREAM = "over the whole stream"


def propensity_drift(rounds: LoggedRounds, rate: float = DEFAULT_RATE) -> list[DriftTest]:
    """Draws against logged probabilities: of all rounds, then of each tenant."""
    everyone = np.ones(len(rounds), dtype=np.bool_)
    tests = [_propensities("all", rounds, everyone, rate)]
    tenants = frequent(rounds.tenants)
    for tenant in tenants if len(tenants) > 1 else ():
        name = f"tenant {tenant or '(none)'}"
        tests.append(_propensities(name, rounds, rounds.tenants == tenant, rate / len(tenants)))
    return tests


def _propensities(
    name: str, rounds: LoggedRounds, mine: NDArray[np.bool_], rate: float
) -> DriftTest:
    test = PropensityTest(rounds.arms, rate)
    test.observe(rounds.probabilities[mine], rounds.action[mine])
    return _outcome(DRAWS, name, test.test, rounds.at[mine], test.finding())


def expectation_drift(rounds: LoggedRounds, rate: float = DEFAULT_RATE) -> list[DriftTest]:
    """Residuals of the policy that served last, a stream for each arm and reported metric.

    The null is that the mean residual, whatever came before, lies within the tolerance. Metrics of
    which the policy expected nothing have no residual.
    """
    last = rounds.rows(rounds.policy_versions == rounds.policy_versions[-1])
    residuals = last.values - last.expected[np.arange(len(last)), last.action]
    streams = [
        (arm, metric, rows)
        for arm in range(len(last.arms))
        for metric in range(len(last.metrics))
        if len(rows := _known(residuals[:, metric], last.action == arm)) >= MIN_STREAM
    ]
    return [
        _residuals(last, residuals[rows, metric], rows, arm, metric, rate / len(streams))
        for arm, metric, rows in streams
    ]


def _known(residuals: Floats, drawn: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.flatnonzero(drawn & ~np.isnan(residuals))


def _residuals(
    rounds: LoggedRounds,
    residuals: Floats,
    rows: NDArray[np.intp],
    arm: int,
    metric: int,
    rate: float,
) -> DriftTest:
    amount = is_amount(rounds.metrics[metric], rounds.values[rows, metric])
    test = SequentialTest(2 * len(_STAKES), rate)
    if amount:
        test.observe(mean_bets(standardised(residuals), AMOUNT_TOLERANCE / _CUT))
    else:
        test.observe(mean_bets(residuals, SHARE_TOLERANCE))
    name = f"{rounds.metrics[metric]} of {rounds.arms[arm]}"
    observed = float(rounds.values[rows, metric].mean())
    finding = f"{observed:.4g} on average, expected {observed - float(residuals.mean()):.4g}"
    skipped = _BURN_IN if amount else 0
    return _outcome(EXPECTATIONS, name, test, rounds.at[rows][skipped:], finding)


def mean_bets(residuals: Floats, tolerance: float) -> Floats:
    """(n, 2 · stakes) factors of residuals (n,) in −1..1, for and against a mean above 0.

    1 + λ·(±r − tolerance), λ ≤ 1 / (1 + tolerance), has mean at most 1 while the mean of r lies
    within ±tolerance (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables
    by betting").
    """
    clipped = np.clip(residuals, -1.0, 1.0)[:, None]
    stakes = np.array(_STAKES) / (1.0 + tolerance)
    return np.hstack([1.0 + stakes * (sign * clipped - tolerance) for sign in (1.0, -1.0)])


def standardised(residuals: Floats) -> Floats:
    """(n − burn-in,) residuals by the standard deviation of those before them, cut to −1..1.

    One unit is _CUT standard deviations, and so is that of the tolerance.
    """
    counts = np.arange(1, len(residuals) + 1)
    mean_square = np.cumsum(residuals**2) / counts - (np.cumsum(residuals) / counts) ** 2
    spread = np.sqrt(np.maximum(mean_square, 1e-18))[_BURN_IN - 1 : -1]
    return np.asarray(np.clip(residuals[_BURN_IN:] / (_CUT * spread), -1.0, 1.0))


def query_drift(
    rounds: LoggedRounds, known: KnownQueries, since: float, rate: float = DEFAULT_RATE
) -> DriftTest:
    """Explored queries after a time (the end of a training window) against the training rows."""
    mine = rounds.rows(rounds.explored & (rounds.at > since))
    test = FeatureDrift(known, rate)
    test.observe(mine.features)
    finding = f"unlike the training rows in {', '.join(test.leading())}"
    return _outcome(QUERIES, "all", test.test, mine.at, finding)


def frequent(names: NDArray[np.object_], least: int = MIN_STREAM) -> list[str]:
    """The names that occur at least so often, most frequent first."""
    found, counts = np.unique(names.astype(str), return_counts=True)
    order: Sequence[int] = np.argsort(-counts, kind="stable").tolist()
    return [str(found[index]) for index in order if counts[index] >= least]


def _outcome(kind: str, name: str, test: SequentialTest, at: Floats, finding: str) -> DriftTest:
    alarmed = test.alarmed_at
    return DriftTest(
        kind=kind,
        name=name,
        alarm=alarmed is not None,
        false_alarm_rate=test.false_alarm_rate,
        control=WHOLE_STREAM,
        statistic=E_VALUE,
        value=test.log_value,
        threshold=math.log(1.0 / test.false_alarm_rate),
        rows=test.observed,
        since=None if alarmed is None else float(at[alarmed - 1]),
        finding=finding if alarmed is not None else "",
    )
