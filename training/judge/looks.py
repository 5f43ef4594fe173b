"""Alpha spent over successive looks, so that trying again and again doesn't make luck look true.

The k-th look at an incumbent tests at α_k = ALPHA / (k·(k + 1)), one-sided: 2.5 % at the first, as
a 95 % interval's lower bound does, then 0.83 %, 0.42 %, ... Those sum to ALPHA = 5 % over any
number of looks. By the union bound, which needs no independence, the chance that any of the
candidates judged against one incumbent is promoted without being better is at most 5 %, however
much their logs overlap, as long as no candidate was chosen by its outcomes on the rounds that it is
judged by (the gate leaves a candidate's own training rounds and queries out).

A new incumbent starts over. The hypotheses are others (better than this one), and so is the data:
the gate reads only rounds that the incumbent drew. Never starting over would leave a service that
learns every week unable to promote anything within a year. What is controlled is therefore the
error per incumbent: of all promotions, about one in twenty may be without gain, not one ever. A
policy that is rolled back to goes on counting where it stopped.
"""

from collections.abc import Mapping
from hashlib import sha256
from statistics import NormalDist

import msgspec
import numpy as np

from policies.exploration import Exploration
from policies.policy import Policy
from training.log.rounds import LoggedRounds

# The chance of any promotion without gain, over all looks at one incumbent.
ALPHA = 0.05


def alpha_of_look(look: int) -> float:
    """The one-sided level of the look-th test against one incumbent, counted from 1."""
    if look < 1:
        raise ValueError(f"looks are counted from 1, not {look}")
    return ALPHA / (look * (look + 1))


def normal_quantile(alpha: float) -> float:
    """How many standard errors a bound at this one-sided level lies from the estimate."""
    return -NormalDist().inv_cdf(alpha)


def look_of(
    rounds: LoggedRounds,
    candidate: Policy,
    objective: Mapping[str, float] | None,
    exploration: Exploration,
) -> str:
    """What makes a look at these rounds the same as another: equal ones are counted once."""
    asked = {
        "candidate": candidate.version,
        "objective": None if objective is None else dict(objective),
        "exploration": exploration,
    }
    content = sha256(msgspec.json.encode(asked, order="deterministic"))
    content.update("\n".join(rounds.decision_ids.tolist()).encode())
    content.update(np.ascontiguousarray(rounds.values).tobytes())
    return content.hexdigest()[:32]
