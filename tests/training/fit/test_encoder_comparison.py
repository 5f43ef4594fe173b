"""The comparison of two encoders' out-of-fold predictions, without any library for encoders."""

import numpy as np
import pytest

from training.fit.encoder_choice import EncoderComparison, choice_line, compare
from training.tables.warm_start import WarmStart


def rows_with(values: np.ndarray, metrics: tuple[str, ...]) -> WarmStart:
    n, arms, _ = values.shape
    names = tuple(f"arm{number}" for number in range(arms))
    return WarmStart(np.zeros((n, 3), np.float32), "test", [""] * n, names, metrics, values, "")


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(400, 2, 1))


def compared(
    values: np.ndarray, old: float, new: float, groups: np.ndarray | None = None
) -> EncoderComparison:
    """Predictions that are `old` and `new` of the way from the arms' means to the outcomes."""
    means = values.mean(axis=0)
    rows = rows_with(values, tuple(f"metric{m}" for m in range(values.shape[2])))
    numbers = np.arange(len(values)) if groups is None else groups
    predictions = [means + way * (values - means) for way in (old, new)]
    return compare(rows, *predictions, numbers, passes=[1])


def test_errors_are_shares_of_what_the_means_leave(values: np.ndarray) -> None:
    found = compared(values, 0.0, 0.5)
    assert found.unchanged == pytest.approx(1.0)
    assert found.fine_tuned == pytest.approx(0.25)
    assert found.gain == pytest.approx(0.75)
    assert found.kept


def test_metrics_count_alike_whatever_their_units(values: np.ndarray) -> None:
    both = np.concatenate([values, 1_000.0 * values[::-1]], axis=2)
    assert compared(both, 0.0, 0.5).gain == pytest.approx(0.75)


@pytest.mark.parametrize("new", [0.3, 0.2])
def test_no_gain_keeps_the_old_encoder(values: np.ndarray, new: float) -> None:
    assert not compared(values, 0.3, new).kept


def test_a_metric_that_never_varies_within_an_arm_counts_for_nothing(values: np.ndarray) -> None:
    steps = np.broadcast_to(np.array([[0.0], [3.35]]), values.shape)
    found = compared(np.concatenate([values, steps], axis=2), 0.0, 0.5)
    assert list(found.by_metric) == ["metric0"]
    assert found.gain == pytest.approx(0.75)


def test_nothing_to_tell_keeps_the_old_encoder() -> None:
    assert not compared(np.full((50, 2, 1), 3.35), 0.0, 1.0).kept


def test_repeated_queries_count_once(values: np.ndarray) -> None:
    """Each row four times: the error stays that of the distinct queries, or it would halve."""
    once = compared(values, 0.0, 0.1)
    groups = np.tile(np.arange(len(values)), 4)
    repeated = compared(np.tile(values, (4, 1, 1)), 0.0, 0.1, groups)
    assert repeated.standard_error == pytest.approx(once.standard_error, rel=1e-6)


def test_unknown_outcomes_are_left_out(values: np.ndarray) -> None:
    values[::3, 0] = np.nan
    rows = rows_with(values, ("quality",))
    truth = np.nan_to_num(values, nan=99.0)
    found = compare(rows, np.zeros(values.shape), truth, np.arange(len(values)), passes=[1])
    assert found.fine_tuned == 0.0


def test_the_sentence_gives_both_figures_and_the_verdict(values: np.ndarray) -> None:
    line = choice_line(compared(values, 0.0, 0.5))
    assert "1.0000 with the encoder as it is, 0.2500 fine-tuned" in line
    assert "it is kept" in line
    assert "stays as it is" in choice_line(compared(values, 0.5, 0.5))
