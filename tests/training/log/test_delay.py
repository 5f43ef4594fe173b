"""Decisions too young for their feedback are neither reported nor silent."""

import numpy as np
import pytest

from training.log.delay import ARRIVED, MOST_PENDING, delay_quantile, pending


def log(
    n: int, mean_delay: float, span: float, rng: np.random.Generator, share: float = 0.6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """When decisions were made over the span, when their feedback came by its end, and would."""
    at = np.sort(rng.random(n)) * span
    comes = np.where(rng.random(n) < share, at + rng.exponential(mean_delay, size=n), np.nan)
    return at, np.where(comes <= span, comes, np.nan), comes


def test_the_delay_is_estimated_although_slow_reports_of_young_decisions_are_not_here_yet() -> None:
    """Null: the 95 % quantile of an exponential delay of mean 1, log(20), over 20 logs.

    Half of a mean delay after the start nothing slow can have come: the plain quantile is too low.
    """
    rng = np.random.default_rng(0)
    found, plain = [], []
    for _ in range(20):
        at, seen, _ = log(4_000, 1.0, 6.0, rng)
        came = ~np.isnan(seen)
        found.append(delay_quantile(seen[came] - at[came], 6.0 - at[came], ARRIVED))
        plain.append(np.quantile(seen[came] - at[came], ARRIVED))
    assert np.mean(found) == pytest.approx(np.log(20.0), abs=0.25)
    assert np.mean(plain) < np.log(20.0) - 0.3


def test_young_decisions_wait_and_the_share_of_the_others_is_right() -> None:
    rng = np.random.default_rng(1)
    at, seen, _ = log(20_000, 1.0, 20.0, rng)
    young = pending(at, seen, 20.0)
    assert young[at > 19.0].all()
    assert not young[at < 15.0].any()
    # 5 % of the youngest that stay are still on their way, hardly any of the older ones.
    assert (~np.isnan(seen[~young])).mean() == pytest.approx(0.6, abs=0.02)
    assert (~np.isnan(seen)).mean() < 0.58


def test_feedback_that_comes_at_once_leaves_every_decision_in() -> None:
    at = np.arange(1_000.0)
    reported = np.where(np.arange(1_000) % 2 == 0, at + 0.01, np.nan)
    assert not pending(at, reported, 1_000.0).any()


def test_too_few_reports_say_nothing_of_delays() -> None:
    at = np.arange(100.0)
    assert not pending(at, at + 50.0, 100.0).any()


def test_never_more_than_half_of_a_log_waits() -> None:
    rng = np.random.default_rng(2)
    at, seen, _ = log(4_000, 10.0, 5.0, rng)
    assert pending(at, seen, 5.0).mean() <= MOST_PENDING + 0.01
