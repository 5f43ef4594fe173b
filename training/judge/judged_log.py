"""The rounds of a log that a policy is judged by, whether the log is in memory or in parts."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np

from policies.exploration import Exploration
from policies.policy import Policy
from training.engines import Engine
from training.engines.local import LocalEngine
from training.fit.row_sample import SAMPLE_ROWS
from training.judge.choice import Choice, chosen, first_choice, survey
from training.judge.judged_parts import Objective, gather, read_values
from training.judge.judged_policy import (
    RowValues,
    Unseen,
    check_fit,
    of_tenant,
    reads_beliefs,
    require_tenant,
    too_few,
    training_window,
    unseen,
)
from training.log.log_folder import LogPlace
from training.log.partitions import RoundsParts, log_in_parts, one_part
from training.log.rounds import LoggedRounds

# A log of so many decisions is joined in memory; features are read of the later ones alone.
IN_MEMORY = 1_500_000
# More rounds than these are judged in passes, though they be in memory.
SMALL = SAMPLE_ROWS


class JudgedLog(NamedTuple):
    """The rounds, whether the policy was trained on them, and a function that gives for each of
    some objectives what the rounds' features say of them (None where the rounds have features);
    the policy's beliefs among it if the exploration that it would serve with asks for them.
    """

    mine: Unseen
    in_sample: bool
    read: Callable[[Sequence[Objective], Exploration], Sequence[RowValues | None]]

    @property
    def unseen(self) -> Unseen:
        """The rounds that the policy wasn't trained on; none, where it was trained on all."""
        if not self.in_sample:
            return self.mine
        return Unseen(self.mine.rounds.rows(np.zeros(0, dtype=np.intp)), self.mine.trained[:0], 0)


@contextmanager
def opened_log(
    logs: LogPlace,
    policy: Policy,
    engine: Engine,
    *,
    scratch: LogPlace | None = None,
    arms: Sequence[str] = (),
    tenant: str | None = None,
    seed: int = 0,
    in_memory: int = IN_MEMORY,
) -> Iterator[tuple[RoundsParts, JudgedLog]]:
    """A log's parts, and the rounds of it to judge a policy by, for as long as the block lasts.

    Features are read only of rounds after the policy's training window; of all, where none of
    those can be judged by. Arguments and errors as for `log_in_parts` and `judged_log`.
    """
    after, version = training_window(policy), policy.feature_version or None
    opened = partial(
        log_in_parts,
        logs,
        engine,
        scratch=scratch,
        arms=arms,
        feature_version=version,
        in_memory=in_memory,
    )
    if after > -math.inf:
        with opened(since=after) as parts:
            found = _unseen_log(parts, policy, engine, tenant, seed)
            if found is not None:
                yield parts, found
                return
    with opened() as parts:
        yield parts, judged_log(parts, policy, engine, tenant=tenant, seed=seed)


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
        EmptyLogError: no round is of that tenant, or of a large log none is explored.
        PolicyFitError: the policy doesn't fit the log's features or arms.
    """
    if tenant is not None:
        require_tenant(tenant, parts.tenants)
    found = _unseen_log(parts, policy, engine, tenant, seed)
    if found is not None:
        return found
    if len(parts.parts) == 1:
        explored = _all_explored(parts.parts[0].read(), tenant)
        return _in_memory(explored, policy, seed, in_sample=True)
    choice = first_choice(policy, tenant)._replace(in_sample=True)
    surveys = engine.map(partial(survey, choice), parts.parts)
    rows = sum(n for one in surveys if one is not None for n, _ in one.rows.values())
    if not rows:
        raise too_few(policy, 0, 0)
    return _gathered(parts, policy, engine, choice, rows, seed)


def _unseen_log(
    parts: RoundsParts, policy: Policy, engine: Engine, tenant: str | None, seed: int
) -> JudgedLog | None:
    """By rounds that the policy wasn't trained on; None where there are none."""
    if not parts.rows or (tenant is not None and tenant not in parts.tenants):
        return None
    if len(parts.parts) == 1:
        mine = unseen(parts.parts[0].read(), policy, tenant)
        return _in_memory(mine, policy, seed, in_sample=False) if len(mine.rounds) else None
    check_fit(policy, parts.feature_version, parts.arms)
    first = first_choice(policy, tenant)
    choice, rows, left_out = chosen(first, engine.map(partial(survey, first), parts.parts))
    return _gathered(parts, policy, engine, choice, rows, seed, left_out) if rows else None


def _gathered(
    parts: RoundsParts,
    policy: Policy,
    engine: Engine,
    choice: Choice,
    rows: int,
    seed: int,
    left_out: int = 0,
) -> JudgedLog:
    found = gather(parts, choice, rows, engine, seed=seed)

    def read(objectives: Sequence[Objective], exploration: Exploration) -> list[RowValues | None]:
        beliefs = reads_beliefs(exploration)
        return [
            *read_values(
                parts, choice, found, policy, objectives, engine, seed=seed, beliefs=beliefs
            )
        ]

    return JudgedLog(Unseen(found.rounds, found.trained, left_out), choice.in_sample, read)


def _in_memory(mine: Unseen, policy: Policy, seed: int, *, in_sample: bool) -> JudgedLog:
    if len(mine.rounds) <= SMALL:
        return JudgedLog(mine, in_sample, lambda objectives, _: [None] * len(objectives))
    check_fit(policy, mine.rounds.feature_version, mine.rounds.arms)
    # They are chosen already.
    everything = first_choice(policy, None)._replace(in_sample=True)
    rows = len(mine.rounds)
    found = _gathered(one_part(mine.rounds), policy, LocalEngine(), everything, rows, seed)
    rounds = found.mine.rounds
    return JudgedLog(Unseen(rounds, mine.trained, mine.left_out), in_sample, found.read)


def _all_explored(rounds: LoggedRounds, tenant: str | None) -> Unseen:
    keep = rounds.explored
    if tenant is not None:
        keep = keep & of_tenant(rounds, tenant)
    kept = rounds.rows(keep)
    return Unseen(kept, np.zeros(len(kept), dtype=np.bool_), 0)
