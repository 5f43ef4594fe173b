"""From requests to decisions: cases, features, the policies' outlooks, the draw, the record."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import uuid_utils
from numpy.typing import NDArray

from policies.choose import choose
from policies.events import DecisionMade, TextPolicy
from policies.features import Featurizer
from policies.settings import PolicySettings
from router.api.schemas import RouteRequest, RouteResponse
from router.deciding.budgets import Budgets
from router.deciding.candidate_draws import CandidateDraws, draws_with_candidate
from router.deciding.cases import Case, CaseReader
from router.deciding.decision_record import DecisionRecord, Drawn
from router.deciding.outlook import Outlooks
from router.deciding.rows import Row, rows_of
from router.serving_policy import ServingPolicy

_LOGGER = logging.getLogger(__name__)


class Decision(NamedTuple):
    """What the caller is told, and what is logged."""

    response: RouteResponse
    event: DecisionMade


class Decider:
    """Decides; nothing here waits or touches a disk.

    Pure but for the clock, fresh ids, and the budgets, which book every decision.
    """

    def __init__(
        self,
        settings: PolicySettings,
        featurizer: Featurizer,
        *,
        text: TextPolicy = "full",
        logged_attributes: Sequence[str] = (),
        audit_share: float = 0.0,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: str(uuid_utils.uuid7()),
    ) -> None:
        self.arms = settings.arm_list()
        self.featurizer = featurizer
        self.budgets = Budgets(settings)
        self._cases = CaseReader(settings, self.budgets)
        self._outlooks = Outlooks(settings)
        self._record = DecisionRecord(
            self.arms,
            featurizer.version,
            text=text,
            logged_attributes=logged_attributes,
            audit_share=audit_share,
            clock=clock,
        )
        self._new_id = new_id
        self._failed_candidate = ""

    def decide(
        self,
        requests: Sequence[RouteRequest],
        serving: ServingPolicy,
        *,
        in_batch: bool = False,
        unavailable: Mapping[str, str] = {},
    ) -> list[Decision]:
        """One decision a request, all by the same policy.

        Args:
            requests: what to decide on.
            serving: the policy, as one snapshot.
            in_batch: the requests have numbers.
            unavailable: arms that can't be taken now, and why; masked before the draw, so that the
                propensities are true.

        Raises:
            NoAnswerError: arms would be eligible, but all of them are unavailable.
            QueryError, ArmError, ObjectiveError: a request can't be decided, so none is; `in_batch`
                has the error's field say which.
        """
        cases = self._cases.read(requests, serving, unavailable, in_batch=in_batch)
        features = self.featurizer.features([case.query for case in cases])
        cases = self._cases.flag_unknown(cases, features, serving)
        outlook = self._outlooks.of(serving, features, cases)
        draws = self._draws(outlook.probabilities, features, cases, serving)
        rows = rows_of(cases, outlook, draws.probabilities, features)
        return [self._decision(row, serving, draws, features) for row in rows]

    def _draws(
        self,
        incumbent: NDArray[np.float64],
        features: NDArray[np.float32],
        cases: Sequence[Case],
        serving: ServingPolicy,
    ) -> CandidateDraws:
        """What is drawn with: the incumbent's probabilities (n, A), mixed with a canary's.

        A request that wants no exploration gets the incumbent's best arm, canary or not: it takes
        no part in the rollout.
        """
        candidate = serving.candidate
        if candidate is None:
            return CandidateDraws(incumbent)
        takes_part = np.array([case.request.explore for case in cases])
        if not takes_part.any():
            return CandidateDraws(incumbent)
        version = candidate.policy.version
        try:
            probabilities = self._outlooks.of(candidate, features, cases).probabilities
        except Exception:
            # A candidate mustn't cost anyone a decision, whatever is wrong with it.
            if self._failed_candidate != version:
                _LOGGER.exception("candidate %s fails and is left out of such requests", version)
            self._failed_candidate = version
            return CandidateDraws(incumbent)
        share = serving.candidate_share
        return draws_with_candidate(incumbent, probabilities, takes_part, version, share)

    def _decision(
        self,
        row: Row,
        serving: ServingPolicy,
        draws: CandidateDraws,
        features: NDArray[np.float32],
    ) -> Decision:
        case = row.case
        decision_id = self._new_id()
        arm = choose(row.probabilities, decision_id)
        explored = row.utilities[arm] < row.utilities[row.best]
        drawn = Drawn(decision_id, arm, explored)
        event = self._record.event(row, serving, drawn)
        reasons = [*case.eligibility.rules, *serving.policy.reasons(features[row.number])]
        if draws.candidate is not None:
            event = draws.mark(event, row.number)
            reasons += draws.reasons(row.number)
        if explored:
            reasons.append(
                f"explored: {self.arms[row.best].name} looked best, {event.arm} was drawn with "
                f"probability {event.propensity:.3f}"
            )
        if event.objective in self.budgets:
            self.budgets.decided(event, self._outlooks.exploration(case.request, serving))
            if (budget_note := self.budgets.note(event.objective)) is not None:
                reasons.append(budget_note)
        return Decision(self._record.response(event, row, drawn, reasons), event)
