"""Requests as cases to decide on: query, objective and eligible arms, checked and resolved."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from policies.eligibility import Eligibility, eligibility
from policies.errors import ArmError, PolicyError
from policies.objective import Objective, known_metrics, resolve_objective
from policies.query import check_query
from policies.settings import PolicySettings
from router.answers.errors import NoAnswerError
from router.api.schemas import RouteRequest
from router.deciding.budgets import Budgets
from router.deciding.conversation import last_user_text, routed_query
from router.deciding.out_of_distribution import keep_to_safe_arm
from router.serving_policy import ServingPolicy


class Case(NamedTuple):
    """A request, checked and resolved."""

    request: RouteRequest
    query: str
    objective: Objective
    eligibility: Eligibility
    out_of_distribution: bool = False


class CaseReader:
    """Resolves requests by the configuration."""

    def __init__(self, settings: PolicySettings, budgets: Budgets) -> None:
        """Take the settings; `budgets` say what their requests are weighed with now."""
        self._arms = settings.arm_list()
        self._rules = settings.rules
        # What most requests ask for, resolved once: nothing changes or is changed by them.
        self._unrestricted = eligibility(self._arms, self._rules, {}, None)
        self._objectives = settings.all_objectives()
        self._named = {name: Objective(name, weights) for name, weights in self._objectives.items()}
        self._default_objective = settings.default_objective
        self._default_objectives = {
            tenant: own.default_objective(settings.default_objective)
            for tenant, own in settings.tenants.items()
        }
        self._out_of_distribution = settings.out_of_distribution
        self._budgets = budgets

    def read(
        self,
        requests: Sequence[RouteRequest],
        serving: ServingPolicy,
        unavailable: Mapping[str, str],
        *,
        in_batch: bool,
    ) -> list[Case]:
        """One case a request; arguments and errors as for `Decider.decide`."""
        cases = []
        for index, request in enumerate(requests):
            try:
                cases.append(self._read(request, serving.policy.metrics, unavailable))
            except PolicyError as error:
                if in_batch:
                    error.field = f"requests[{index}].{error.field}"
                raise
        return cases

    def _read(
        self, request: RouteRequest, learned: Sequence[str], unavailable: Mapping[str, str]
    ) -> Case:
        objective = self._objective(request, learned)
        query = _query(request)
        eligible = self._unrestricted
        if request.attributes or request.arms is not None or unavailable:
            eligible = eligibility(
                self._arms, self._rules, request.attributes, request.arms, unavailable
            )
        if not any(eligible.mask):
            self._refuse(eligible, unavailable)
        return Case(request, query, objective, eligible)

    def _objective(self, request: RouteRequest, learned: Sequence[str]) -> Objective:
        wanted = request.objective
        if wanted is None:
            wanted = self._default_objectives.get(request.tenant, self._default_objective)
        if isinstance(wanted, dict) or wanted not in self._named:
            metrics = known_metrics(self._objectives, learned)
            return resolve_objective(wanted, self._objectives, metrics)
        tracked = self._budgets.weights(wanted)
        return self._named[wanted] if tracked is None else Objective(wanted, tracked)

    def _refuse(self, eligible: Eligibility, unavailable: Mapping[str, str]) -> NoReturn:
        why_not = zip(self._arms, eligible.why_not, strict=True)
        reasons = "; ".join(f"{arm.name}: {reason}" for arm, reason in why_not)
        if set(unavailable.values()) & set(eligible.why_not):
            raise NoAnswerError(f"no arm is left to take now ({reasons})")
        raise ArmError(f"no eligible arm is left ({reasons})", field="arms")

    def flag_unknown(
        self, cases: list[Case], features: NDArray[np.float32], serving: ServingPolicy
    ) -> list[Case]:
        """Flag queries unlike those the policy knows, and keep them to the safe arm.

        `features` (n, d) are those of the n cases.
        """
        settings = self._out_of_distribution
        if serving.known is None or settings.alpha == 0.0:
            return cases
        for row, p_value in serving.known.foreign(features, settings.alpha):
            kept = keep_to_safe_arm(cases[row].eligibility, self._arms, settings, p_value)
            cases[row] = cases[row]._replace(eligibility=kept, out_of_distribution=True)
        return cases


def _query(request: RouteRequest) -> str:
    """What the request asks, checked."""
    if not request.messages:
        return check_query(request.query)
    turns = request.conversation
    check_query(request.query or last_user_text(turns))
    return routed_query(turns)
