"""`rag-policy report`: what an owner wants to know of a log, in one structure."""

from collections.abc import Mapping

import msgspec
import numpy as np

from policies.exploration import Exploration
from policies.novelty import KnownQueries
from policies.policy import Policy
from policies.settings import PolicySettings
from training.judge.gate import Verdict, judge
from training.judge.ope import Estimate
from training.log.log_files import Log
from training.log.rounds import LoggedRounds
from training.report.drift import (
    DEFAULT_RATE,
    DriftTest,
    expectation_drift,
    propensity_drift,
    query_drift,
)
from training.report.feature_shift import feature_shift
from training.report.log_days import Day, Outcomes, Tally, by_arm, by_day, by_tenant, tally
from training.report.worth import Worth, arms_worth, incumbent_values, judgeable, routes_worth
from training.utility import objective_weights


class OwnerReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that `report --json` prints.

    `objective` is None where each request's own counts. `incumbent` is what served, by metric;
    `policies` counts decisions by the version that made them. `routes` has entries where several
    arms share a route. `candidate` is the gate's verdict on `--policy`.
    """

    window: list[float]
    objective: dict[str, float] | None
    policies: dict[str, int]
    total: Tally
    incumbent: dict[str, Estimate]
    arms: list[Worth]
    routes: list[Worth]
    days: list[Day]
    by_arm: list[Tally]
    by_tenant: list[Tally]
    drift: list[DriftTest]
    candidate: Verdict | None = None

    @property
    def alarms(self) -> list[DriftTest]:
        """The tests whose alarm is raised."""
        return [test for test in self.drift if test.alarm]


def owner_report(
    log: Log,
    rounds: LoggedRounds,
    settings: PolicySettings,
    *,
    objective: Mapping[str, float] | None = None,
    policy: Policy | None = None,
    exploration: Exploration | None = None,
    false_alarm_rate: float = DEFAULT_RATE,
    seed: int = 0,
) -> OwnerReport:
    """The report on a log.

    Args:
        log: the log, for what its rounds don't hold: answers and feedback.
        rounds: its rounds.
        settings: name the route of each arm; an arm they don't have is its own route.
        objective: weights for all rounds; without it each request's own.
        policy: a candidate to judge, whose training rows are the reference of query drift too.
        exploration: what the candidate would serve with.
        false_alarm_rate: of each drift test.
        seed: of folds and ties.

    Raises:
        EmptyLogError: there are too few distinct queries to say what anything is worth.
        ObjectiveError: the objective weighs a metric that the log doesn't have.
        PolicyFitError: the candidate doesn't fit the log's features or arms.
    """
    routes = {arm: route_of(arm, settings) for arm in rounds.arms}
    judged = judgeable(rounds, objective_weights(rounds, objective), seed=seed)
    outcomes = Outcomes(log, rounds)
    several = len(set(routes.values())) < len(routes)
    versions, counts = np.unique(rounds.policy_versions.astype(str), return_counts=True)
    return OwnerReport(
        window=[float(rounds.at[0]), float(rounds.at[-1])],
        objective=None if objective is None else dict(objective),
        policies=dict(zip(versions.tolist(), counts.tolist(), strict=True)),
        total=tally("all", rounds, outcomes, np.ones(len(rounds), dtype=np.bool_)),
        incumbent=incumbent_values(judged),
        arms=arms_worth(judged),
        routes=routes_worth(judged, routes) if several else [],
        days=by_day(judged, outcomes, routes),
        by_arm=by_arm(rounds, outcomes),
        by_tenant=by_tenant(rounds, outcomes),
        drift=drift_tests(rounds, policy, false_alarm_rate, seed),
        candidate=None
        if policy is None
        else judge(rounds, policy, objective, exploration, seed=seed),
    )


def drift_tests(
    rounds: LoggedRounds, policy: Policy | None, rate: float, seed: int
) -> list[DriftTest]:
    """Every drift test that the log has enough rounds for."""
    tests = [
        *propensity_drift(rounds, rate),
        *expectation_drift(rounds, rate),
        *feature_shift(rounds, rate, seed=seed),
    ]
    known = None if policy is None else KnownQueries.of(policy.artifact())
    if policy is not None and known is not None:
        window = policy.artifact().manifest.training.get("window")
        tests.append(query_drift(rounds, known, float(window[1]) if window else -np.inf, rate))
    return tests


def route_of(arm: str, settings: PolicySettings) -> str:
    """The arm's configured route; its own name where no configuration has it."""
    return next((a.route for a in settings.arm_list() if a.name == arm and a.route), arm)
