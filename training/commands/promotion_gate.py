"""`promote`'s gate: what must hold before a look, the look itself, and each condition told."""

from collections.abc import Callable
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
    on_look: Callable[[], None] = lambda: None,
) -> "Verdict":
    """How a policy stands on a log against what served, as one more look at that incumbent.

    No look is taken where the log isn't of what serves: that is refused whatever it would show.

    Args:
        policy: the candidate.
        logs: the exported log.
        scratch: where a log too large for memory is put in order.
        objective: a name, or weights as JSON; None leaves each decision its own.
        config: the router.toml that the service runs with.
        registry: where looks are counted.
        active: what serves, which the log's last decisions must have been drawn by; None for the
            rules, which no published policy may have drawn them instead of.
        on_look: called once a look is recorded.
    """
    from policies.exploration import Exploration
    from training.engines.local import LocalEngine
    from training.judge.gate import Verdict as Answer
    from training.judge.gate import incumbent_condition, judge_unseen, require
    from training.judge.judged_log import opened_log
    from training.judge.looks import look_of

    settings = read_policy_settings(config)
    weights = None if objective is None else resolve_objective_option(objective, settings).weights
    opened = opened_log(logs, policy, LocalEngine(), scratch=scratch, arms=policy.arms)
    with progress("judging"), opened as (parts, found):
        mine = found.unseen
        published = [manifest.version for manifest in registry.manifests()]
        serves = None if active is None else active.version
        incumbent_serves = incumbent_condition(parts.policy_version, serves, published)
        if mine.enough and incumbent_serves is not None and not incumbent_serves.passed:
            rows = len(mine.rounds)
            return Answer(
                promote=False, policy=policy.version, rows=rows, conditions=[incumbent_serves]
            )
        exploration = settings.exploration or Exploration()
        number = 1
        if mine.enough:
            # Recorded before anything is known of the outcome, so that no refusal goes uncounted.
            incumbent = str(mine.rounds.policy_versions[-1])
            look = look_of(mine.rounds, policy, weights, exploration)
            number = registry.record_look(incumbent, look)
            on_look()
        verdict = judge_unseen(
            mine,
            policy,
            weights,
            exploration,
            tenant_guardrails=settings.tenant_guardrails(),
            look=number,
            read=found.read([weights], exploration)[0] if mine.enough else None,
        )
    return verdict if incumbent_serves is None else require(verdict, incumbent_serves)


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
