"""What each arm and each route is worth on logged rounds, and what served is, day by day.

Everything is doubly robust (`training.judge.ope.dr`) with cross-fitted reward models, and intervals
are robust to repeated queries. An arm's value is that of always taking it, on the explored rounds
where it could be taken; beside it stands its paired advantage over what served on the same rounds.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.errors import EmptyLogError
from training.fit.feature_scale import fit_scale
from training.fit.folds import grouped_folds
from training.fit.pseudo_outcomes import draws_of
from training.fit.threads import one_thread
from training.judge.cross_fit import cross_fit
from training.judge.judged_policy import MIN_QUERIES
from training.judge.ope import Estimate, Sample, dr, overlap, paired_advantage
from training.log.rounds import Floats, LoggedRounds
from training.utility import judge_rounds, sample_of

# A name that no reported metric can have.
OBJECTIVE = "(objective)"
_FOLDS = 5


class Worth(msgspec.Struct, frozen=True, kw_only=True):
    """Always taking one arm, or one route as its arms were drawn.

    `values` and `advantages` (over what served) are by metric, `(objective)` among them;
    `effective_sample_size` is Kish's, of the rounds that reported what the objective weighs.
    """

    name: str
    rows: int
    drawn: int
    effective_sample_size: float
    values: dict[str, Estimate]
    advantages: dict[str, Estimate]


class Judgeable(NamedTuple):
    """Rounds, and by metric (`(objective)` first) the samples whose reward it is.

    `measured` says whether any metric that the objective weighs was reported: if none was, its
    value is what serving policies expected, and has no interval.
    """

    rounds: LoggedRounds
    samples: dict[str, Sample]
    measured: bool

    def rows(self, index: NDArray[np.bool_]) -> "Judgeable":
        """Some of the rounds."""
        samples = {name: sample.rows(index) for name, sample in self.samples.items()}
        return Judgeable(self.rounds.rows(index), samples, self.measured)

    def estimates(self, action_dist: Floats) -> dict[str, Estimate]:
        """The value of a policy with these probabilities (n, A), by metric."""
        by = {m: dr(s._replace(action_dist=action_dist)) for m, s in self.samples.items()}
        return self._without_false_intervals(by)

    def advantages(self, action_dist: Floats) -> dict[str, Estimate]:
        """Its paired advantage over what served, by metric."""
        served = self.rounds.probabilities
        by = {
            metric: paired_advantage(sample._replace(action_dist=action_dist), served)
            for metric, sample in self.samples.items()
        }
        return self._without_false_intervals(by)

    def _without_false_intervals(self, by: dict[str, Estimate]) -> dict[str, Estimate]:
        return by if self.measured else {**by, OBJECTIVE: Estimate(by[OBJECTIVE].value)}


@one_thread()
def judgeable(rounds: LoggedRounds, weights: Floats, *, seed: int = 0) -> Judgeable:
    """Samples of the rounds under the weights (n, M) and for each reported metric alone.

    Raises:
        EmptyLogError: there are too few distinct queries to fit the reward models.
    """
    if (distinct := len(np.unique(rounds.groups))) < MIN_QUERIES:
        raise EmptyLogError(
            f"the log's decisions are on {distinct} distinct queries, at least {MIN_QUERIES} are "
            "needed to say what anything is worth: let the service run on, and export again"
        )
    draws = draws_of(rounds, fit_scale(rounds.features).apply(rounds.features))
    folds = grouped_folds(rounds.groups, _FOLDS, seed)
    predictions = cross_fit(draws, folds).predictions
    wanted = {OBJECTIVE: weights}
    for m in np.flatnonzero(rounds.observed):
        only = np.zeros_like(weights)
        only[:, m] = 1.0
        wanted[rounds.metrics[m]] = only
    return Judgeable(
        rounds,
        {
            name: sample_of(rounds, judge_rounds(rounds, by, predictions), rounds.probabilities)
            for name, by in wanted.items()
        },
        measured=bool((weights[:, rounds.observed] != 0.0).any()),
    )


def incumbent_values(log: Judgeable) -> dict[str, Estimate]:
    """What served, as it drew, by metric."""
    return log.estimates(log.rounds.probabilities)


def arms_worth(log: Judgeable) -> list[Worth]:
    """Each arm, always taken."""
    alone = {arm: np.eye(len(log.rounds.arms))[a] for a, arm in enumerate(log.rounds.arms)}
    return [worth for name, arms in alone.items() if (worth := _worth(name, log, arms))]


def routes_worth(log: Judgeable, routes: Mapping[str, str]) -> list[Worth]:
    """Each route, always taken, its arms in the proportions in which they were drawn.

    `routes` gives the route of each arm.
    """
    names = list(dict.fromkeys(routes[arm] for arm in log.rounds.arms))
    of = {name: np.array([float(routes[arm] == name) for arm in log.rounds.arms]) for name in names}
    return [worth for name, arms in of.items() if (worth := _worth(name, log, arms))]


def _worth(name: str, log: Judgeable, arms: Floats) -> Worth | None:
    """Taking these arms (A,), 0 or 1, where they were possible; None where they never were."""
    possible = (log.rounds.probabilities @ arms > 0.0) & log.rounds.explored
    if len(np.unique(log.rounds.groups[possible])) < MIN_QUERIES:
        return None
    here = log.rows(possible)
    wanted = here.rounds.probabilities * arms
    wanted = wanted / wanted.sum(axis=1, keepdims=True)
    judged = here.samples[OBJECTIVE]._replace(action_dist=wanted)
    return Worth(
        name=name,
        rows=len(here.rounds),
        drawn=int(arms[here.rounds.action].sum()),
        effective_sample_size=overlap(judged).effective_sample_size,
        values=here.estimates(wanted),
        advantages=here.advantages(wanted),
    )
