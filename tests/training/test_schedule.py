"""Work that is done again and again until a signal asks it to stop."""

import os
import signal
import threading

import pytest

from training.schedule import again_and_again, parse_duration, stop_requests


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("30s", 30.0), ("15m", 900.0), (" 6h ", 21_600.0), ("1d", 86_400.0),
     ("0.5", 0.5), ("1.5 h", 5_400.0)],
)  # fmt: skip
def test_a_duration_is_a_number_with_or_without_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "6 hours", "-5", "0", "0s", "1h30m", "nan", "9" * 40])
def test_what_is_no_duration_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration above 0: give seconds, or a number with"):
        parse_duration(text)


def test_work_is_repeated_until_a_signal_comes_and_the_run_at_hand_is_finished() -> None:
    done: list[bool] = []

    def work() -> None:
        if len(done) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        done.append(True)

    with stop_requests(interrupts=False) as stop:
        again_and_again(work, 0.001, stop)
        assert stop.made
    assert len(done) == 3


def test_a_signal_ends_the_wait_between_two_runs() -> None:
    kill = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
    with stop_requests(interrupts=False) as stop:
        kill.start()
        again_and_again(lambda: None, 3_600.0, stop)
    kill.join()


def test_a_second_signal_ends_what_the_first_let_go_on() -> None:
    """By what the signal would have raised without us."""
    reached: list[str] = []

    def asked_twice() -> None:
        with stop_requests(interrupts=False):
            signal.raise_signal(signal.SIGINT)
            reached.append("after the first")
            signal.raise_signal(signal.SIGINT)
            reached.append("after the second")

    with pytest.raises(KeyboardInterrupt):
        asked_twice()
    assert reached == ["after the first"]


def test_where_signals_interrupt_what_is_held_still_ends_first_however_many_come() -> None:
    reached: list[str] = []

    def held() -> None:
        with stop_requests(interrupts=True) as stop:
            with stop.held():
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGTERM)
                reached.append("held")
            assert stop.wait(3_600.0)
            signal.raise_signal(signal.SIGINT)
            reached.append("never")

    with pytest.raises(KeyboardInterrupt):
        held()
    assert reached == ["held"]


def test_signals_are_afterwards_what_they_were() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with stop_requests(interrupts=True):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
