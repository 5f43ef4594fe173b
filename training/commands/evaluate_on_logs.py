"""How `rag-policy evaluate` judges a policy on a log, read in parts."""

from contextlib import ExitStack
from typing import NamedTuple

from policies.policy import Policy
from policies.settings import PolicySettings
from training.engines import Engine
from training.judge.judged_log import opened_log
from training.judge.log_evaluation import default_exploration, evaluate_log
from training.judge.log_report import LogReport
from training.log.log_folder import LogPlace
from training.progress import note, progress
from training.remarks import remarks


class Asked(NamedTuple):
    """What options say of judging a policy on a log."""

    objectives: list[dict[str, float]]
    greedy: bool
    tenant: str | None
    look: int
    seed: int


def evaluate_on_logs(
    policy: Policy,
    logs: LogPlace,
    settings: PolicySettings,
    asked: Asked,
    engine: Engine,
    scratch: LogPlace | None,
) -> LogReport:
    """Estimates on the rounds after the policy's training window; remarks on the log are said.

    Args:
        policy: the candidate.
        logs: the exported log.
        settings: of the service: its exploration, and tenants' guardrails.
        asked: by the options.
        engine: where the passes over the log run.
        scratch: where a log too large for memory is put in order.

    Raises:
        TrainingError: nothing in it can judge the policy.
    """
    with ExitStack() as stack:
        with progress("reading the log"):
            opened = opened_log(
                logs, policy, engine, scratch=scratch, tenant=asked.tenant, seed=asked.seed
            )
            parts, found = stack.enter_context(opened)
        for line in remarks(found.mine.rounds):
            note(line)
        with progress("estimating"):
            return evaluate_log(
                policy,
                found,
                parts.counts,
                objectives=asked.objectives or [None],
                exploration=default_exploration(settings.exploration, asked.greedy),
                tenant_guardrails=settings.tenant_guardrails(),
                tenant=asked.tenant,
                look=asked.look,
                seed=asked.seed,
            )
