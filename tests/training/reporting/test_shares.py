"""Reporting as a table, by tenant and arm."""

import dataclasses

import numpy as np

from tests.training.worlds import rounds_of
from training.reporting.shares import CellSums, reporting_by_arm


def test_like_rounds_are_averaged_as_their_inverses() -> None:
    rounds = rounds_of(600, np.random.default_rng(0))
    rare = np.arange(600) % 2 == 0
    found = reporting_by_arm(rounds, np.where(rare, 0.1, 0.5))
    of_first = rounds.action == 0
    wanted = 1.0 / np.where(rare, 10.0, 2.0)[of_first].mean()
    np.testing.assert_allclose(found[:, 0], wanted)


def test_a_tenant_counts_apart_from_enough_draws_on() -> None:
    rounds = rounds_of(600, np.random.default_rng(0))
    tenants = np.where(np.arange(600) < 570, "large", "small").astype(object)
    rounds = dataclasses.replace(rounds, tenants=tenants)
    found = reporting_by_arm(rounds, np.where(tenants == "large", 0.5, 0.1))
    np.testing.assert_allclose(found[:570], 0.5)
    assert (found[570:] > 0.3).all()


def test_an_arm_that_was_never_drawn_is_reported_as_all_are() -> None:
    only = np.tile([0.5, 0.5, 0.0], (300, 1))
    rounds = rounds_of(300, np.random.default_rng(0), probabilities=only)
    np.testing.assert_allclose(reporting_by_arm(rounds, np.full(300, 0.4)), 0.4)
    assert not reporting_by_arm(rounds, np.zeros(300)).any()


def test_the_tables_of_a_logs_parts_add_up_to_the_logs() -> None:
    rng = np.random.default_rng(1)
    rounds = rounds_of(900, rng)
    tenants = rng.choice(np.array(["", "a", "b"], dtype=object), 900)
    tenants[600:] = "late"
    rounds = dataclasses.replace(rounds, tenants=tenants)
    known = rng.random(900) < 0.5
    whole = CellSums.of(rounds, known)
    parts = [rounds.rows(np.arange(600)), rounds.rows(np.arange(600, 900))]
    added = CellSums.of(parts[0], known[:600]).plus(CellSums.of(parts[1], known[600:]))
    assert added.tenants == whole.tenants == ("", "a", "b", "late")
    np.testing.assert_array_equal(added.means(tenants.tolist()), whole.means(tenants.tolist()))
