"""Keeps a budget while traffic changes: after each decision, the cost weight of the next.

Two things set the weight. What recent queries would cost at each weight is known from what the
policy expects of them (`policies.spend_curve`, on the latest ROWS queries). And what was overspent
so far is owed: the tracker aims below the limit by a part of the debt, so that the debt is paid
back over the next requests, and the mean over a window of W requests is off by no more than the
debts at its ends, divided by W. A shift of traffic shows in the debt at once, in the curve within
ROWS requests.

The weight that a request is served with depends on earlier ones only, so logged propensities are
true. One tracker a process: each worker holds the budget over its own share of the requests.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from threading import Lock
from typing import Literal, NamedTuple

import numpy as np

from policies.budget import BudgetSettings, with_cost_weight
from policies.events import DecisionMade
from policies.exploration import Exploration, Floats
from policies.spend_curve import Queries, SpendCurve, spend_curve

# Recent queries that the curve is made of, how often it is made, and of how many quantiles.
ROWS, EVERY, POINTS = 64, 64, 9
# The first curves are made sooner; and one is after SOON decisions where so many requests' budgets
# were spent or saved beyond what was aimed at: the curve is of other traffic.
_FIRST, _SOON, _ASTRAY = (8, 16, 32), 16, 8.0
# Of a window: the debt is paid back within 1/_PAYBACK of it, and is forgotten beyond _MOST_OWED of
# what may be spent in it, since what can't be met mustn't be paid for by later requests.
_PAYBACK, _MOST_OWED = 160.0, 0.01
# Requests of a batch, or in flight together, are decided with one weight before any of them is
# booked: so many together pay back this part of the debt at most, or each batch would overshoot.
# How many there are is forgotten by a tenth with each that is served with the weight of the moment.
_PER_BATCH, _FORGET = 0.5, 0.9
# An arm's measured excess over what is expected of it: draws remembered, and draws it is shrunk by.
_MEMORY, _SHRINKAGE = 200.0, 20.0
# Anyone may report a metric, and once may report nonsense: no measurement moves an arm's mean
# excess by more than this part of the limit. The debt has all of it, within _MOST_OWED.
_MOST_MOVED = 0.05

Status = Literal["starting", "holding", "not binding", "out of reach", "unknown metric"]


class BudgetState(NamedTuple):
    """Where a budget stands: the present weight, the mean spend of the latest window, its limit,
    and why.
    """

    weight: float
    spend: float
    limit: float
    status: Status


class _Charge:
    """One decision's spend: as expected of its arm at first, then as measured."""

    __slots__ = ("amount", "arm", "expected", "measured", "recent")

    def __init__(self, arm: str, expected: float, amount: float) -> None:
        self.arm, self.expected, self.amount = arm, expected, amount
        self.measured, self.recent = False, True


class _Row(NamedTuple):
    arms: list[str]
    eligible: list[str]
    expected: Mapping[str, list[float]]


class BudgetTracker:
    """One budget in one process. Safe to be called from several threads; never waits."""

    def __init__(self, name: str, budget: BudgetSettings, weights: Mapping[str, float]) -> None:
        """Start from the configured weight; `weights` are those of the budget's objective."""
        self._name, self._budget, self._base = name, budget, dict(weights)
        self._weight = budget.weight
        self._curve: SpendCurve | None = None
        self._rows: deque[_Row] = deque(maxlen=ROWS)
        self._decisions, self._debt, self._spent = 0, 0.0, 0.0
        self._since_learning, self._astray = 0, 0.0
        self._stale, self._together = 0, 1.0
        self._window: deque[_Charge] = deque()
        self._pending: OrderedDict[str, _Charge] = OrderedDict()
        self._excess: dict[str, tuple[float, float]] = {}
        self._status: Status = "starting"
        self._lock = Lock()

    def weights(self) -> dict[str, float]:
        """The objective that the next request is served with."""
        return with_cost_weight(self._base, self._budget.metric, self._weight)

    def state(self) -> BudgetState:
        """Where it stands."""
        with self._lock:
            spend = self._spent / len(self._window) if self._window else 0.0
            return BudgetState(self._weight, spend, self._budget.at_most, self._status)

    def note(self) -> str | None:
        """What a caller should know, if the budget can't be held."""
        metric, most = self._budget.metric, self._budget.at_most
        if self._status == "unknown metric":
            return f"budget {self._name} isn't held: the policy expects nothing of {metric!r}"
        if self._status == "out of reach" and self._curve is not None:
            return (
                f"budget {self._name} is out of reach: the arms that such requests may take spend "
                f"{self._curve.spends[-1]:.4g} {metric} at least, above {most:g}"
            )
        return None

    def decided(self, event: DecisionMade, exploration: Exploration) -> None:
        """Book a decision that this budget's weight was used for, and set the next weight."""
        costs = event.expected.get(self._budget.metric)
        with self._lock:
            if costs is None:
                self._status = "unknown metric"
                return
            expected = costs[event.arms.index(event.arm)]
            charge = _Charge(event.arm, expected, expected + self._offset(event.arm))
            self._book(event.decision_id, charge)
            self._rows.append(_Row(event.arms, event.eligible, event.expected))
            self._notice_delay(event.weights)
            self._decisions += 1
            self._since_learning += 1
            self._astray += charge.amount - self._target()
            if self._due():
                self._learn(exploration)
            self._aim()

    def measured(self, decision_id: str, metrics: Mapping[str, float]) -> None:
        """Take what a decision has really cost, whenever that is known, and of whichever arm."""
        value = metrics.get(self._budget.metric)
        with self._lock:
            charge = self._pending.get(decision_id)
            if value is None or charge is None:
                return
            self._owe(value - charge.amount)
            if charge.recent:
                self._spent += value - charge.amount
            if not charge.measured:
                self._learn_excess(charge.arm, value - charge.expected)
            charge.amount, charge.measured = value, True
            self._aim()

    def _learn_excess(self, arm: str, excess: float) -> None:
        total, draws = self._excess.get(arm, (0.0, 0.0))
        kept = 1.0 - 1.0 / _MEMORY
        draws = draws * kept + 1.0
        most = _MOST_MOVED * self._budget.at_most * (draws + _SHRINKAGE)
        self._excess[arm] = (total * kept + min(max(excess, -most), most), draws)

    def _offset(self, arm: str) -> float:
        """What an arm costs beyond what is expected of it. A difference, not a ratio: an arm that
        is expected to cost nothing may cost something.
        """
        total, draws = self._excess.get(arm, (0.0, 0.0))
        return total / (draws + _SHRINKAGE)

    def _book(self, decision_id: str, charge: _Charge) -> None:
        self._owe(charge.amount - self._budget.at_most)
        self._spent += charge.amount
        self._window.append(charge)
        if len(self._window) > self._budget.window:
            oldest = self._window.popleft()
            oldest.recent = False
            self._spent -= oldest.amount
        self._pending[decision_id] = charge
        if len(self._pending) > 4 * self._budget.window:
            self._pending.popitem(last=False)

    def _owe(self, amount: float) -> None:
        most = _MOST_OWED * self._budget.window * self._budget.at_most
        self._debt = min(max(self._debt + amount, -most), most)

    def _target(self) -> float:
        rate = min(_PAYBACK / self._budget.window, _PER_BATCH / self._together)
        return self._budget.at_most - rate * self._debt

    def _notice_delay(self, weights: Mapping[str, float]) -> None:
        """How many decisions a weight is used for: one served with an older weight adds to them."""
        if weights == self.weights():
            self._stale, self._together = 0, max(_FORGET * self._together, 1.0)
        else:
            self._stale += 1
            self._together = max(self._together, self._stale + 1.0)

    def _aim(self) -> None:
        if self._curve is not None:
            self._weight = self._curve.weight_for(self._target())

    def _due(self) -> bool:
        astray = abs(self._astray) > _ASTRAY * self._budget.at_most
        return (
            self._decisions in _FIRST
            or self._since_learning >= EVERY
            or (astray and self._since_learning >= _SOON)
        )

    def _learn(self, exploration: Exploration) -> None:
        self._since_learning, self._astray = 0, 0.0
        rows = [row for row in self._rows if row.arms == self._rows[-1].arms]
        arms, nothing = rows[-1].arms, [0.0] * len(rows[-1].arms)

        def expected(metric: str) -> Floats:
            return np.array([row.expected.get(metric, nothing) for row in rows])

        costs = expected(self._budget.metric)
        utilities = np.zeros(costs.shape)
        for metric, weight in self._base.items():
            utilities += weight * expected(metric)
        eligible = np.array([[arm in row.eligible for arm in arms] for row in rows])
        offsets = np.array([self._offset(arm) for arm in arms])
        self._curve = spend_curve(
            Queries(utilities, costs, eligible),
            exploration,
            points=POINTS,
            prices=costs + offsets,
        )
        most, least = self._curve.spends[0], self._curve.spends[-1]
        limit = self._budget.at_most
        self._status = (
            "out of reach" if least > limit else "not binding" if most < limit else "holding"
        )
