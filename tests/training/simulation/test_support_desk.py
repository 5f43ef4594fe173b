"""The simulated support desk: what it says of itself is what it does."""

import numpy as np
import pytest

from policies.arms import DEFAULT_ARMS, arm_names
from training.simulation.support_desk import ARMS, TOPICS, SupportDesk


def test_its_arms_are_the_default_ones() -> None:
    assert arm_names(DEFAULT_ARMS) == ARMS


def test_every_slot_of_every_template_is_filled() -> None:
    traffic = SupportDesk().traffic(3000, np.random.default_rng(0))
    assert not any("{" in query for query in traffic.queries)
    assert len(set(traffic.queries)) > 1000


def test_outcomes_average_to_the_stated_means() -> None:
    """Null: the means are true. Each of 9 z-scores beyond 4.5 has probability 7e-6; seed fixed."""
    traffic = SupportDesk().traffic(20_000, np.random.default_rng(1))
    noise = traffic.outcomes - traffic.means
    z = noise.mean(axis=0) / (noise.std(axis=0) / np.sqrt(len(noise)))
    assert np.abs(z).max() < 4.5


def test_no_arm_is_best_everywhere() -> None:
    best = {int(np.argmax(topic.quality)) for topic in TOPICS}
    assert best == {0, 1, 2}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_seed_gives_the_same_traffic(seed: int) -> None:
    first, again = (SupportDesk().traffic(50, np.random.default_rng(seed)) for _ in range(2))
    assert first.queries == again.queries
    np.testing.assert_array_equal(first.outcomes, again.outcomes)
