"""What logged mixtures say of a candidate: its advantage over the incumbent, round by round.

With p the probabilities that a round was drawn with, p_i the incumbent's, p_c the candidate's and
q(a) a prediction of the reward that was made before the draw, the doubly robust value of a round,

    x = Σ_a (p_c(a) − p_i(a)) q(a) + (p_c(a') − p_i(a')) / p(a') · (r − q(a')),   a' the drawn arm,

is on average the round's advantage, whatever q (Dudík et al. 2011). Here q is what the serving
policy expects, corrected by each arm's mean error so far. Only reported rounds count. Arms that are
reported more often than others are weighed down by the rates seen so far: reporting may depend on
the arm, but for one arm mustn't depend on how good the answer was.
"""

import math
from typing import NamedTuple

import msgspec
import numpy as np

from policies.events import DecisionMade
from policies.exploration import Floats
from policies.rollout import WatchedMetric, WatchVerdict
from policies.sequential.mixture_sequence import MixtureSequence, SequenceState
from router.settings import RolloutSettings

# A round in which an arm would weigh more says almost nothing, and would widen all bounds.
MAX_WEIGHT = 50.0
# Reporting rates that differ more between arms are corrected this far; the correction of q does
# the rest.
_MOST_CORRECTION = 3.0
# Rates and errors count as if so many rounds had been seen that show no difference between arms.
_PRIOR_ROUNDS = 50.0


class Watched(NamedTuple):
    """A metric as the watch sees it: scaled to 0..1, more being better."""

    metric: str
    scale: float
    tolerance: float
    less_is_better: bool

    def reward(self, value: float) -> float:
        """The metric's value as a reward in 0..1; values beyond the scale count as its end.

        Raises:
            ValueError: it isn't finite.
        """
        if not math.isfinite(value):
            raise ValueError(f"{self.metric} can't be {value}")
        share = min(max(value / self.scale, 0.0), 1.0)
        return 1.0 - share if self.less_is_better else share


def watched_metrics(settings: RolloutSettings) -> list[Watched]:
    """The metric that the candidate is to improve, then the guardrails."""
    guarded = [
        Watched(metric, guardrail.limit, guardrail.tolerance, less_is_better=True)
        for metric, guardrail in settings.guardrails.items()
    ]
    return [Watched(settings.metric, 1.0, settings.tolerance, less_is_better=False), *guarded]


class MetricEvidence(msgspec.Struct, kw_only=True):
    """One metric's values so far, and by arm how many were reported and the sum of q's errors."""

    sequence: SequenceState = msgspec.field(default_factory=SequenceState)
    reported: dict[str, int] = {}
    errors: dict[str, float] = {}


class Evidence(msgspec.Struct, kw_only=True):
    """All that is known of a candidate: decisions by drawn arm, and each metric's evidence."""

    decisions: dict[str, int] = {}
    metrics: dict[str, MetricEvidence] = {}
    unsupported: int = 0


class RoundValue(NamedTuple):
    """A round's value before its reward is known: what it is for each arm and reward.

    `prediction` is Σ (p_c − p_i) q; `weights` (A,) what each arm's error would be weighed with, 0
    for arms that couldn't be drawn; `below` and `above` how far the value can lie from it.
    """

    prediction: float
    weights: Floats
    below: float
    above: float


def incumbent_probabilities(decision: DecisionMade) -> Floats:
    """(A,) what the incumbent alone would have drawn with.

    Raises:
        ValueError: the candidate's probabilities are of other arms.
    """
    mixed, candidate = np.array(decision.probabilities), np.array(decision.candidate_probabilities)
    if mixed.shape != candidate.shape:
        raise ValueError(f"{len(candidate)} probabilities of the candidate for {len(mixed)} arms")
    share = decision.candidate_share
    return np.asarray(np.maximum((mixed - share * candidate) / (1.0 - share), 0.0))


def round_value(decision: DecisionMade, control: Floats, correction: Floats) -> RoundValue | None:
    """What a round's value can be; None where the draw can't stand for the candidate's.

    Args:
        decision: of a candidate in shadow or canary.
        control: (A,) q, within 0..1.
        correction: (A,) what rounds of each arm are weighed with for how often it is reported.
    """
    drawn_with = np.array(decision.probabilities)
    difference = np.array(decision.candidate_probabilities) - incumbent_probabilities(decision)
    possible = drawn_with > 0.0
    if np.abs(difference[~possible]).max(initial=0.0) > 1e-9:
        return None
    weights = np.zeros(len(drawn_with))
    weights[possible] = difference[possible] / drawn_with[possible] * correction[possible]
    if np.abs(weights).max() > MAX_WEIGHT:
        return None
    upwards = np.maximum(weights * (1.0 - control), -weights * control)
    downwards = np.maximum(weights * control, -weights * (1.0 - control))
    return RoundValue(
        float(difference @ control), weights, float(downwards.max()), float(upwards.max())
    )


class EvidenceBook:
    """Keeps the evidence: told of each decision once, and of each metric's first value on it."""

    def __init__(self, settings: RolloutSettings, evidence: Evidence | None = None) -> None:
        self._settings = settings
        self._watched = {watched.metric: watched for watched in watched_metrics(settings)}
        # The chance of a false rollback is shared between the metrics that may cause one.
        self._alpha = settings.alpha / len(self._watched)
        self.evidence = evidence or Evidence()

    @property
    def metrics(self) -> frozenset[str]:
        """The metrics whose values it wants."""
        return frozenset(self._watched)

    def decided(self, decision: DecisionMade) -> None:
        """Count a decision, so that the rate of reporting is known."""
        counts = self.evidence.decisions
        counts[decision.arm] = counts.get(decision.arm, 0) + 1

    def reported(self, decision: DecisionMade, metric: str, value: float) -> None:
        """Take in a metric's value on a decision.

        Raises:
            ValueError: the value, or what was expected, is no finite number, or the decision's
                lists don't fit each other.
        """
        watched, kept = self._watched[metric], self._kept(metric)
        raw = _expected(decision, watched)
        control = np.clip(raw + self._errors(kept, decision.arms), 0.0, 1.0)
        value_of = round_value(decision, control, self._correction(kept, decision.arms))
        if value_of is None:
            self.evidence.unsupported += 1
            return
        drawn, reward = decision.arms.index(decision.arm), watched.reward(value)
        x = value_of.prediction + value_of.weights[drawn] * (reward - control[drawn])
        sequence = MixtureSequence(self._alpha, kept.sequence)
        sequence.update(float(x), value_of.prediction, value_of.below, value_of.above)
        # Only now: what this round was weighed with mustn't have seen it.
        kept.reported[decision.arm] = kept.reported.get(decision.arm, 0) + 1
        error = kept.errors.get(decision.arm, 0.0) + reward - float(raw[drawn])
        kept.errors[decision.arm] = error

    def findings(self) -> list[WatchedMetric]:
        """Each watched metric's advantage so far, in its own unit."""
        return [self._finding(watched) for watched in self._watched.values()]

    def verdict(self) -> WatchVerdict:
        """`worse` where a metric is shown to be, `ready` where the candidate is shown to be better
        and has run its course, else `watching`.
        """
        settings, findings = self._settings, self.findings()
        for found in findings:
            if found.rounds >= settings.min_rounds and found.upper < -found.tolerance:
                return "worse"
        first = findings[0]
        proven = first.rounds >= settings.course_rounds and first.lower > 0.0
        return "ready" if proven else "watching"

    def _kept(self, metric: str) -> MetricEvidence:
        return self.evidence.metrics.setdefault(metric, MetricEvidence())

    def _finding(self, watched: Watched) -> WatchedMetric:
        sequence = MixtureSequence(self._alpha, self._kept(watched.metric).sequence)
        count = sequence.state.count
        # No advantage lies beyond one whole scale.
        return WatchedMetric(
            metric=watched.metric,
            rounds=count,
            advantage=sequence.mean * watched.scale if count else 0.0,
            lower=max(sequence.lower, -1.0) * watched.scale,
            upper=min(sequence.upper, 1.0) * watched.scale,
            tolerance=watched.tolerance,
        )

    def _errors(self, kept: MetricEvidence, arms: list[str]) -> Floats:
        """(A,) the mean error of what the policy expects of each arm."""
        return np.array(
            [
                kept.errors.get(arm, 0.0) / (kept.reported.get(arm, 0) + _PRIOR_ROUNDS)
                for arm in arms
            ]
        )

    def _correction(self, kept: MetricEvidence, arms: list[str]) -> Floats:
        """(A,) the rate at which decisions are reported over that of each arm's."""
        decisions = np.array([self.evidence.decisions.get(arm, 0) for arm in arms], dtype=float)
        reported = np.array([kept.reported.get(arm, 0) for arm in arms], dtype=float)
        if not reported.sum() or not decisions.sum():
            return np.ones(len(arms))
        rate = min(reported.sum() / decisions.sum(), 1.0)
        by_arm = (reported + _PRIOR_ROUNDS * rate) / (decisions + _PRIOR_ROUNDS)
        return np.asarray(np.clip(rate / by_arm, 1.0 / _MOST_CORRECTION, _MOST_CORRECTION))


def _expected(decision: DecisionMade, watched: Watched) -> Floats:
    """(A,) the reward that the serving policy expects of each arm; a half where it says nothing."""
    expected = decision.expected.get(watched.metric)
    if expected is None:
        return np.full(len(decision.arms), 0.5)
    return np.array([watched.reward(value) for value in expected])
