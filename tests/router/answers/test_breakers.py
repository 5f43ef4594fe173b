"""Circuit breakers: closed, open, half-open with one probe."""

import asyncio

import pytest

from router.answers.breakers import Breaker
from router.answers.errors import BreakerOpenError
from router.models.errors import (
    ModelBusyError,
    ModelOverloadedError,
    ModelRefusedError,
    ModelTimeoutError,
)
from router.settings import BreakerSettings


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr("circuitbreaker.monotonic", lambda: clock[0])
    return clock


def fail(breaker: Breaker, error: Exception | None = None) -> None:
    with pytest.raises(type(error or ModelOverloadedError(""))), breaker.call():
        raise error or ModelOverloadedError("answered 500")


def test_it_opens_after_so_many_failures_in_a_row(now: list[float]) -> None:
    breaker = Breaker("model base", BreakerSettings(failures=3, open_s=15.0))
    fail(breaker)
    fail(breaker)
    with breaker.call():
        pass
    fail(breaker)
    fail(breaker)
    assert breaker.state == "closed"
    assert breaker.why_not is None
    fail(breaker)
    assert breaker.state == "open"
    assert breaker.why_not is not None
    assert breaker.retry_after_s == 15
    with pytest.raises(BreakerOpenError), breaker.call():
        pytest.fail("called an open breaker")


def test_half_open_lets_one_probe_through_which_decides(now: list[float]) -> None:
    breaker = Breaker("model base", BreakerSettings(failures=1, open_s=15.0))
    fail(breaker)
    now[0] += 15.1
    assert breaker.state == "half-open"
    assert breaker.why_not is None
    with breaker.call():
        assert breaker.why_not is not None
        with pytest.raises(BreakerOpenError), breaker.call():
            pytest.fail("a second probe")
    assert breaker.state == "closed"
    fail(breaker)
    now[0] += 15.1
    fail(breaker)
    assert breaker.state == "open"


def test_a_probe_that_has_begun_to_answer_closes_it(now: list[float]) -> None:
    breaker = Breaker("model base", BreakerSettings(failures=1, open_s=15.0))
    fail(breaker)
    now[0] += 15.1
    with breaker.call() as is_probe:
        assert is_probe
        breaker.works()
        assert breaker.state == "closed"
        assert breaker.why_not is None


def test_a_probe_is_kept_for_who_reserved_it(now: list[float]) -> None:
    breaker = Breaker("model base", BreakerSettings(failures=1, open_s=15.0))
    assert not breaker.reserve()
    fail(breaker)
    now[0] += 15.1
    assert breaker.reserve()
    assert breaker.why_not is not None
    assert not breaker.reserve()
    with breaker.call():
        pass
    breaker.release()
    assert breaker.state == "closed"
    fail(breaker)
    now[0] += 15.1
    assert breaker.reserve()
    breaker.release()
    assert breaker.why_not is None


def test_an_old_answer_that_ends_well_doesnt_close_it(now: list[float]) -> None:
    breaker = Breaker("model base", BreakerSettings(failures=1, open_s=15.0))
    with breaker.call() as is_probe:
        assert not is_probe
        fail(breaker)
        now[0] += 15.1
    assert breaker.state == "half-open"


def test_a_failure_that_isnt_the_backends_doesnt_count(now: list[float]) -> None:
    breaker = Breaker("model base", BreakerSettings(failures=1))
    fail(breaker, ModelBusyError("all connections are in use"))
    fail(breaker, ModelTimeoutError("no first token within 0.1 s", trips=False))
    assert breaker.state == "closed"


def test_a_request_that_is_refused_doesnt_count(now: list[float]) -> None:
    breaker = Breaker("model base", BreakerSettings(failures=1))
    fail(breaker, ModelRefusedError("answered 400"))
    assert breaker.state == "closed"


def test_being_cancelled_counts_neither_way(now: list[float]) -> None:
    breaker = Breaker("model base", BreakerSettings(failures=2, open_s=15.0))
    fail(breaker)
    with pytest.raises(asyncio.CancelledError), breaker.call():
        raise asyncio.CancelledError
    fail(breaker)
    assert breaker.state == "open"
    now[0] += 15.1
    with pytest.raises(asyncio.CancelledError), breaker.call():
        raise asyncio.CancelledError
    assert breaker.state == "half-open"
    assert breaker.why_not is None
