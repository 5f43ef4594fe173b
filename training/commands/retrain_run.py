"""One run of `rag-policy retrain`: train, evaluate, ask the gate, promote; with its report."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from policies.artifact import Manifest, write_artifact
from policies.errors import ActiveChangedError
from policies.policy import Policy
from policies.registries import Activation, PolicyRegistry, ReplicaStatus
from policies.settings import PolicySettings
from training.commands.engine_options import open_engine
from training.commands.evaluate_on_logs import Asked, evaluate_on_logs
from training.commands.promotion_gate import gate_verdict, require_promotable, tell_conditions
from training.commands.registry_options import opened_registry
from training.commands.replica_answers import await_swaps
from training.commands.report import FALSE_ALARMS
from training.commands.report_on_logs import report_on_logs, write_page
from training.commands.retrain_report import (
    Retraining,
    finished_with,
    judged_before,
    write_json,
)
from training.commands.rollout_options import stage_in_words
from training.commands.train import training_facts
from training.commands.train_on_logs import Wanted, train_on_logs, warm_start_beside
from training.errors import EmptyLogError, FailedOutcome
from training.fit.trained_policy import JUDGED_FROM
from training.log.log_folder import LogPlace
from training.log.store import Secrets
from training.progress import note
from training.report_folders import ReportFolders, UnfinishedReport
from training.schedule import StopRequest

# A log of more decisions isn't read into memory once more for the owner's page.
PAGE_DECISIONS = 500_000


class Plan(NamedTuple):
    """What options say of each run."""

    logs: LogPlace
    scratch: LogPlace | None
    engine: str
    scheduler: str | None
    location: str
    prefix: str
    secrets: Secrets
    settings: PolicySettings
    config: Path | None
    objective: str | None
    weights: dict[str, float] | None
    wanted: Wanted
    new_decisions: int
    by: str
    wait_s: float


class _Refused(Exception):  # noqa: N818 - an answer of no, not a fault
    """The run ends here, without a promotion."""

    def __init__(self, reason: str, **found: Any) -> None:
        super().__init__(reason)
        self.found = found


def retrain(plan: Plan, reports: ReportFolders, stop: StopRequest) -> Retraining:
    """Train on the log as it is now, and promote what is proven better than what serves.

    The report is there once this returns. Where it raises, it is there if a look was taken, which
    the next run must know of, or if the policy may have become active. No signal ends the run from
    the moment that the policy is stored.

    Raises:
        TrainingError, PolicyError, OSError: the run failed.
    """
    with ExitStack() as held, reports.one_run() as report:
        found: dict[str, Any] = {"report": str(report.place)}
        try:
            with opened_registry(plan.location, plan.prefix, plan.secrets) as registry:
                _look_around(registry, reports, found)
            policy = _trained(plan, report)
            found["policy"] = policy.version
            _require_news(plan, policy.artifact().manifest, found["judged_decisions"])
            _describe(plan, policy, report)
            with opened_registry(plan.location, plan.prefix, plan.secrets) as registry:
                replicas, active = _judged(plan, policy, registry, found, report)
                held.enter_context(stop.held())
                return _promoted(plan, policy, registry, replicas, active, found, report)
        except (_Refused, EmptyLogError, FailedOutcome) as error:
            found |= error.found if isinstance(error, _Refused) else {}
            return finished_with(Retraining(outcome="refused", reason=str(error), **found), report)
        except BaseException as error:
            with stop.held():
                _keep_look(error, found, report)
            raise


def _keep_look(error: BaseException, found: dict[str, Any], report: UnfinishedReport) -> None:
    """Keep the report of a run that fails with its look taken: the next must wait for new data."""
    if report.finished or not report.needed:
        return
    reason = f"failed once a look was taken: {error or type(error).__name__}"
    try:
        finished_with(Retraining(outcome="failed", reason=reason, **found), report)
    except OSError as unwritten:
        note(f"note: that a look was taken isn't kept: {unwritten}")


def _look_around(registry: PolicyRegistry, reports: ReportFolders, found: dict[str, Any]) -> None:
    """What is active, and whether nothing else is on the way to be."""
    active = registry.active()
    found["incumbent"] = None if active is None else active.version
    found["judged_decisions"] = judged_before(reports, found["incumbent"])
    _require_no_rollout(registry)


def _require_no_rollout(registry: PolicyRegistry) -> None:
    rollout = registry.rollout()
    if rollout is not None:
        raise _Refused(
            f"policy {rollout.version} is {stage_in_words(rollout)}, and promoting another would "
            "end that: promote it or roll it back first"
        )


def _trained(plan: Plan, report: UnfinishedReport) -> Policy:
    warm = warm_start_beside(plan.logs, None)
    with open_engine(plan.engine, plan.scheduler) as engine:
        policy = train_on_logs(plan.logs, warm, plan.wanted, engine, plan.scratch, {})
    write_artifact(policy.artifact(), report.path / "policy")
    write_json(report, "train.json", training_facts(policy, report.place / "policy"))
    return policy


def _require_news(plan: Plan, manifest: Manifest, judged_decisions: int | None) -> None:
    """That something is left to judge by, and enough of it that no judged run has had.

    Each look at an incumbent is tested at a smaller level, so that none may be wasted.
    """
    training = manifest.training
    if training["held_out"] == 0:
        more = max(1, JUDGED_FROM - int(training["rows"]))
        raise _Refused(
            f"too little data: {training['rows']:,} explored decisions leave nothing to judge a "
            f"policy by; about {more:,} more are needed, or name a --holdout",
            more_decisions=more,
        )
    if judged_decisions is None:
        return
    new = _decisions(manifest) - judged_decisions
    if 0 <= new < plan.new_decisions:  # below 0, old days of the log were deleted
        raise _Refused(
            f"too little is new: {new:,} decisions since a policy was last judged against this "
            f"incumbent, {plan.new_decisions:,} are needed; no look is taken at it",
            more_decisions=plan.new_decisions - new,
        )


def _decisions(manifest: Manifest) -> int:
    """How many the log had when the policy was trained."""
    return int(manifest.training["counts"]["decisions"])


def _describe(plan: Plan, policy: Policy, report: UnfinishedReport) -> None:
    """What `evaluate` and `report` say of it; neither takes a look."""
    weights = [] if plan.weights is None else [plan.weights]
    asked = Asked(weights, greedy=False, tenant=None, look=1, seed=plan.wanted.seed)
    with open_engine(plan.engine, plan.scheduler) as engine:
        found = evaluate_on_logs(policy, plan.logs, plan.settings, asked, engine, plan.scratch)
    write_json(report, "evaluate.json", found)
    decisions = _decisions(policy.artifact().manifest)
    if decisions > PAGE_DECISIONS:
        note(f"note: no report.html: {decisions:,} decisions are more than {PAGE_DECISIONS:,}")
        return
    told = report_on_logs(
        plan.logs, policy, plan.settings, plan.weights, FALSE_ALARMS, plan.wanted.seed
    )
    write_page(told, report.path / "report.html")


def _judged(
    plan: Plan,
    policy: Policy,
    registry: PolicyRegistry,
    found: dict[str, Any],
    report: UnfinishedReport,
) -> tuple[list[ReplicaStatus], Activation | None]:
    """The running replicas and what is active, where the gate lets the policy serve instead."""
    replicas, active = require_promotable(registry, policy)
    _require_no_rollout(registry)  # it may have been begun while this run was training
    incumbent = None if active is None else active.version
    if incumbent != found["incumbent"]:
        found |= {"incumbent": incumbent, "judged_decisions": None}

    def looked() -> None:
        report.needed = True
        found["judged_decisions"] = _decisions(policy.artifact().manifest)

    verdict = gate_verdict(
        policy, plan.logs, plan.scratch, plan.objective, plan.config, registry, active, looked
    )
    tell_conditions(verdict)
    found["verdict"] = verdict
    if not verdict.promote:
        failed = [condition for condition in verdict.conditions if not condition.passed]
        named = ", ".join(condition.name for condition in failed)
        more = [condition.more_rows for condition in failed]
        known = [rows for rows in more if rows is not None]
        raise _Refused(
            f"not proven better, because these conditions failed: {named}",
            # One that more data can't be said to settle isn't settled by what the others need.
            more_decisions=max(known) if len(known) == len(more) else None,
        )
    return replicas, active


def _promoted(
    plan: Plan,
    policy: Policy,
    registry: PolicyRegistry,
    replicas: list[ReplicaStatus],
    active: Activation | None,
    found: dict[str, Any],
    report: UnfinishedReport,
) -> Retraining:
    """Make it active, with a report that is in its place before and says afterwards how it went.

    Raises:
        _Refused: somebody else changed what serves, or began a rollout, meanwhile.
    """
    before = "the built-in rules" if active is None else active.version
    registry.publish(policy.artifact())
    why = f"policy {policy.version} is about to become active in place of {before}"
    finished_with(Retraining(outcome="promoting", reason=why, **found), report)
    try:
        activation = registry.activate(
            policy.version,
            by=plan.by,
            note=f"retrained: {report.place.name}",
            in_place_of="" if active is None else active.version,
        )
    except ActiveChangedError as error:
        raise _Refused(str(error)) from error
    promoted = Retraining(
        outcome="promoted",
        reason=f"policy {policy.version} is active in place of {before}",
        activation=activation,
        **found,
    )
    finished_with(promoted, report)
    swaps = await_swaps(registry, replicas, plan.wait_s, "serves it")
    return finished_with(msgspec.structs.replace(promoted, replicas=swaps), report)
