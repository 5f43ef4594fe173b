"""The rounds of a log that a policy is judged by, whether the log is in memory or in parts."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from policies.policy import Policy
from training.engines import Engine
from training.judge.choice import chosen, first_choice, survey
from training.judge.judged_parts import Objective, gather, read_values
from training.judge.judged_policy import (
    RowValues,
    Unseen,
    check_fit,
    of_tenant,
    require_tenant,
    unseen,
)
from training.log.partitions import RoundsParts
from training.log.rounds import LoggedRounds


class JudgedLog(NamedTuple):
    """The rounds, whether the policy was trained on them, and a function that gives for each of
    some objectives what the rounds' features say of them (None where the rounds have features).
    """

    mine: Unseen
    in_sample: bool
    read: Callable[[Sequence[Objective]], Sequence[RowValues | None]]


def judged_log(
    parts: RoundsParts,
    policy: Policy,
    engine: Engine,
    *,
    tenant: str | None = None,
    seed: int = 0,
) -> JudgedLog:
    """The explored rounds after the policy's training window; those it was trained on where there
    are none.

    Args:
        parts: the log's.
        policy: the one to be judged.
        engine: for a log of several parts.
        tenant: only this tenant's rounds.
        seed: of the folds.

    Raises:
        EmptyLogError: no round is of that tenant.
        PolicyFitError: the policy doesn't fit the log's features or arms.
    """
    if len(parts.parts) == 1:
        return _in_memory(parts.parts[0].read(), policy, tenant)
    check_fit(policy, parts.feature_version, parts.arms)
    if tenant is not None:
        require_tenant(tenant, parts.tenants)
    first = first_choice(policy, tenant)
    choice, rows, left_out = chosen(first, engine.map(partial(survey, first), parts.parts))
    in_sample = rows == 0
    if in_sample:
        choice = first._replace(in_sample=True)
        surveys = engine.map(partial(survey, choice), parts.parts)
        rows = sum(n for one in surveys if one is not None for n, _ in one.rows.values())
    found = gather(parts, choice, rows, engine, seed=seed)

    def read(objectives: Sequence[Objective]) -> list[RowValues | None]:
        return [*read_values(parts, choice, found, policy, objectives, engine, seed=seed)]

    return JudgedLog(Unseen(found.rounds, found.trained, left_out), in_sample, read)


def _in_memory(rounds: LoggedRounds, policy: Policy, tenant: str | None) -> JudgedLog:
    mine = unseen(rounds, policy, tenant)
    in_sample = len(mine.rounds) == 0
    if in_sample:
        mine = _all_explored(rounds, tenant)
    return JudgedLog(mine, in_sample, lambda objectives: [None] * len(objectives))


def _all_explored(rounds: LoggedRounds, tenant: str | None) -> Unseen:
    keep = rounds.explored
    if tenant is not None:
        keep = keep & of_tenant(rounds, tenant)
    kept = rounds.rows(keep)
    return Unseen(kept, np.zeros(len(kept), dtype=np.bool_), 0)
