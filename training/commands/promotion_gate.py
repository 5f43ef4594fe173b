"""`promote`'s gate: what must hold before a look, the look itself, and each condition told."""

from pathlib import Path
from typing import TYPE_CHECKING

from policies.errors import PolicyFitError
from policies.policy import Policy
from policies.registries import Activation, PolicyRegistry, ReplicaStatus
from policies.settings import read_policy_settings
from training.commands.options import resolve_objective_option
from training.errors import FailedOutcome
from training.progress import note, progress
from training.rollout import require_fit

if TYPE_CHECKING:  # it takes scikit-learn, which only judging needs
    from training.judge.gate import Verdict
    from training.log.log_folder import LogPlace


def require_promotable(
    registry: PolicyRegistry, policy: Policy
) -> tuple[list[ReplicaStatus], Activation | None]:
    """The running replicas, all of which can serve the policy, and what is active instead of it.

    Raises:
        FailedOutcome: a replica can't serve it, or it is active already.
    """
    replicas = registry.replicas()
    try:
        require_fit(policy, replicas)
    except PolicyFitError as error:
        raise FailedOutcome(f"not promoted: {error}") from error
    active = registry.active()
    if active is not None and active.version == policy.version:
        raise FailedOutcome(f"policy {policy.version} is active already")
    return replicas, active


def gate_verdict(
    policy: Policy,
    logs: "LogPlace",
    scratch: "LogPlace | None",
    objective: str | None,
    config: Path | None,
    registry: PolicyRegistry,
    active: Activation | None,
) -> "Verdict":
    """How a policy stands on a log against what served, as one more look at that incumbent.

    Args:
        policy: the candidate.
        logs: the exported log.
        scratch: where a log too large for memory is put in order.
        objective: a name, or weights as JSON; None leaves each decision its own.
        config: the router.toml that the service runs with.
        registry: where looks are counted.
        active: what serves, which the log's last decisions must have been drawn by.
    """
    from policies.exploration import Exploration
    from training.engines.local import LocalEngine
    from training.judge.gate import judge_unseen, require_incumbent
    from training.judge.judged_log import opened_log
    from training.judge.looks import look_of

    settings = read_policy_settings(config)
    weights = None if objective is None else resolve_objective_option(objective, settings).weights
    opened = opened_log(logs, policy, LocalEngine(), scratch=scratch, arms=policy.arms)
    with progress("judging"), opened as (parts, found):
        mine = found.unseen
        exploration = settings.exploration or Exploration()
        number = 1
        if mine.enough:
            # Recorded before anything is known of the outcome, so that no refusal goes uncounted.
            incumbent = str(mine.rounds.policy_versions[-1])
            look = look_of(mine.rounds, policy, weights, exploration)
            number = registry.record_look(incumbent, look)
        verdict = judge_unseen(
            mine,
            policy,
            weights,
            exploration,
            tenant_guardrails=settings.tenant_guardrails(),
            look=number,
            read=found.read([weights], exploration)[0] if mine.enough else None,
        )
    if active is not None:
        verdict = require_incumbent(verdict, parts.policy_version, active.version)
    return verdict


def tell_conditions(verdict: "Verdict") -> None:
    """Say how each condition stands."""
    note(
        f"look {verdict.look} at this incumbent: proven means one-sided at {verdict.alpha:.2%}, so "
        "that all looks together promote without gain at most once in twenty"
    )
    for condition in verdict.conditions:
        if condition.passed:
            note(f"passed  {condition.name}: {condition.detail}")
    for refusal in verdict.refusals():
        note(f"FAILED  {refusal}")
