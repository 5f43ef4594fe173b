"""Which rounds of a large log a policy is judged by, part by part.

The same rounds as `training.judge.judged_policy.unseen` chooses of a log in memory.
"""

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import numpy as np

from policies.policy import Policy
from training.fit.folds import Ints
from training.judge.judged_policy import MIN_NEW_ROUNDS, training_window
from training.log.partitions import RoundsPart
from training.log.rounds import Bools, LoggedRounds
from training.trained_queries import QUERY_FILTER, trained_on


class Choice(NamedTuple):
    """after: rounds later than this; tenant: only its rounds; queries: the filter of those the
    policy was trained on; policy_version: only rounds that this one drew; only_new: only those of
    queries that weren't trained on. In sample, nothing but tenant and exploration counts.
    """

    after: float
    tenant: str | None
    queries: str
    policy_version: str | None = None
    only_new: bool = False
    in_sample: bool = False

    def rows(self, rounds: LoggedRounds) -> tuple[Ints, Bools]:
        """The chosen rounds' positions (k,), and whether each one's query was trained on (k,)."""
        keep = rounds.explored
        if self.tenant is not None:
            keep = keep & (rounds.tenants == self.tenant)
        if self.in_sample:
            mine = np.flatnonzero(keep)
            return mine, np.zeros(len(mine), dtype=np.bool_)
        keep = keep & (rounds.at > self.after)
        if self.policy_version is not None:
            keep = keep & (rounds.policy_versions == self.policy_version)
        mine = np.flatnonzero(keep)
        trained = trained_on(self.queries, rounds.query_hashes[mine].tolist())
        if self.only_new:
            mine, trained = mine[~trained], trained[~trained]
        return mine, trained


class Survey(NamedTuple):
    """What a part has to be chosen from: the latest such round (time, id, the policy version that
    drew it), and by policy version how many rounds, and how many of them of new queries.
    """

    latest: tuple[float, str, str]
    rows: dict[str, tuple[int, int]]

    def plus(self, other: "Survey") -> "Survey":
        """Of both."""
        versions = dict.fromkeys((*self.rows, *other.rows))
        both = [(part.rows.get(v, (0, 0)) for part in (self, other)) for v in versions]
        totals = [(a[0] + b[0], a[1] + b[1]) for a, b in both]
        return Survey(max(self.latest, other.latest), dict(zip(versions, totals, strict=True)))


def first_choice(policy: Policy, tenant: str | None) -> Choice:
    """What a policy may be judged by, before it is known what there is."""
    training = policy.artifact().manifest.training
    return Choice(training_window(policy), tenant, training.get(QUERY_FILTER, ""))


def survey(choice: Choice, part: RoundsPart) -> Survey | None:
    """What a part has to choose from; None where it has nothing."""
    rounds = part.read(features=False)
    mine, trained = choice.rows(rounds)
    if not len(mine):
        return None
    at, ids = rounds.at[mine], rounds.decision_ids[mine]
    last = max(np.flatnonzero(at == at.max()).tolist(), key=lambda row: ids[row])
    versions = rounds.policy_versions[mine]
    counts = {
        str(version): (int((versions == version).sum()), int((~trained[versions == version]).sum()))
        for version in dict.fromkeys(versions.tolist())
    }
    return Survey((float(at[last]), str(ids[last]), str(versions[last])), counts)


def chosen(first: Choice, surveys: Iterable[Survey | None]) -> tuple[Choice, int, int]:
    """The choice, how many rounds it is, and how many are left out since they repeat queries that
    were trained on; of no rounds where there are none.
    """
    found = [one for one in surveys if one is not None]
    if not found:
        return first, 0, 0
    whole = reduce(Survey.plus, found)
    version = whole.latest[2]
    rows, new = whole.rows[version]
    only_new = new < rows and new >= MIN_NEW_ROUNDS
    choice = first._replace(policy_version=version, only_new=only_new)
    return choice, (new if only_new else rows), (rows - new if only_new else 0)
