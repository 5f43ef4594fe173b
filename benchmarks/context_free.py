"""Bandits that don't look at the query: what a contextual learner has to beat."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def thompson_beta(rewards: Floats, rng: np.random.Generator) -> Floats:
    """(n,) earned by Thompson sampling with Beta(1, 1) priors, told of every reward at once.

    `rewards` (n, A) in the order of serving; those outside 0..1 are brought there, and enter as a
    Bernoulli draw (Agrawal and Goyal 2012).
    """
    low, high = rewards.min(), rewards.max()
    wins = np.ones((2, rewards.shape[1]))
    earned = np.empty(len(rewards))
    for t, row in enumerate(rewards):
        arm = int(rng.beta(wins[0], wins[1]).argmax())
        earned[t] = row[arm]
        won = rng.random() < (row[arm] - low) / (high - low)
        wins[0 if won else 1, arm] += 1.0
    return earned


def epsilon_greedy(rewards: Floats, rng: np.random.Generator, epsilon: float = 0.05) -> Floats:
    """(n,) earned by taking the arm with the best mean so far, but for a share of uniform draws."""
    count, total = np.zeros(rewards.shape[1]), np.zeros(rewards.shape[1])
    earned = np.empty(len(rewards))
    for t, row in enumerate(rewards):
        mean = np.where(count > 0, total / np.maximum(count, 1), np.inf)
        explore = rng.random() < epsilon
        arm = int(rng.integers(len(row))) if explore else int(mean.argmax())
        earned[t] = row[arm]
        count[arm] += 1
        total[arm] += row[arm]
    return earned
