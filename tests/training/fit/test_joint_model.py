"""All arms in one model: equal to its textbook form, and better than arms alone where it claims."""

import numpy as np
import pytest

from training.fit.folds import grouped_folds
from training.fit.joint_equations import Alike, cells_of, joint_sums
from training.fit.joint_model import CONTRASTS, JointModel
from training.fit.joint_settings import Settings
from training.fit.pseudo_outcomes import OneDraw, full_information
from training.log.rounds import Floats

DIMENSION = 30


def draws_from(
    n: int, rng: np.random.Generator, *, queries: int, alike: float, arms: int = 3
) -> tuple[OneDraw, np.ndarray, Floats]:
    """n uniform draws on so many queries; outcomes of a query correlate by `alike`.

    Returns the draws, their queries and each arm's offset.
    """
    features = rng.normal(size=(queries, DIMENSION)) / np.sqrt(DIMENSION)
    query = np.arange(n) % queries
    offsets = np.array([0.0, 0.1, 0.2])[:arms]
    difficulty = rng.normal(size=queries) * np.sqrt(alike)
    own = rng.normal(size=(queries, arms)) * np.sqrt(1.0 - alike)
    arm = rng.integers(arms, size=n)
    values = np.full((n, arms, 1), np.nan)
    values[np.arange(n), arm, 0] = offsets[arm] + difficulty[query] + own[query, arm]
    known = (~np.isnan(values)).astype(np.float64)
    return OneDraw(features[query], values, arms * known, known), query, offsets


def test_the_equations_are_those_of_generalised_least_squares() -> None:
    """Against the covariance written out: cells of one query share `across`."""
    rng = np.random.default_rng(0)
    draws, query, _ = draws_from(80, rng, queries=40, alike=0.5)
    cells = cells_of(draws, query, 0)
    alike = Alike(0.8, 0.5)
    covariance = np.where(cells.group[:, None] == cells.group, alike.across, 0.0)
    np.fill_diagonal(covariance, (1 - alike.same) / cells.draws + alike.same)
    design = np.zeros((len(cells.value), 3, DIMENSION + 1))
    rows = np.arange(len(cells.value))
    design[rows, cells.arm, :-1], design[rows, cells.arm, -1] = draws.scaled[cells.rows], 1.0
    flat = design.reshape(len(rows), -1)
    weighted = np.linalg.solve(covariance, flat)
    found = joint_sums(draws.scaled, cells, alike, 3).equations
    np.testing.assert_allclose(found.matrix, flat.T @ weighted, atol=1e-9)
    np.testing.assert_allclose(found.right, weighted.T @ cells.value, atol=1e-9)


def test_a_querys_difficulty_is_taken_out_of_its_arms_differences() -> None:
    """100 queries seen about 3 times, correlation .8: the arms' offsets have half the error."""
    rng = np.random.default_rng(1)
    errors: dict[float, list[float]] = {0.0: [], 0.8: []}
    for _ in range(40):
        draws, query, offsets = draws_from(300, rng, queries=100, alike=0.8)
        folds = grouped_folds(query, 5, 0)
        for across, found in errors.items():
            settings = Settings(0.1, 1.0, Alike(across, across))
            average = np.eye(len(CONTRASTS))[-1]
            heads = JointModel.of(draws, query, folds, [settings], [average]).heads()
            gaps = heads.intercepts[:, 0] - heads.intercepts[0, 0]
            found.append(float(((gaps - offsets) ** 2).mean()))
    assert np.mean(errors[0.8]) < 0.5 * np.mean(errors[0.0])


def test_it_learns_how_draws_on_one_query_go_together() -> None:
    rng = np.random.default_rng(2)
    draws, query, _ = draws_from(6_000, rng, queries=2_000, alike=0.5)
    [found] = JointModel.of(draws, query, grouped_folds(query, 5, 0)).settings
    assert found.alike.across == pytest.approx(0.5, abs=0.1)
    assert found.alike.same > 0.9  # the same arm says the same again
    alone, query, _ = draws_from(2_000, rng, queries=2_000, alike=0.5)
    [found] = JointModel.of(alone, query, grouped_folds(query, 5, 0)).settings
    assert found.alike == Alike(0.0, 0.0)


def test_differences_that_queries_tell_are_learned_and_noise_is_not() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(3_000, DIMENSION))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    lean = np.column_stack([2.0 * features[:, 0], -2.0 * features[:, 0]])
    folds, query = grouped_folds(np.arange(3_000), 5, 0), np.arange(3_000)
    for signal, wanted in ((lean, True), (0.0 * lean, False)):
        values = (signal + rng.normal(size=(3_000, 2)))[:, :, None]
        model = JointModel.of(full_information(features, values), query, folds)
        gap = model.heads().expected(features)[:, :, 0] @ [1.0, -1.0]
        right = np.corrcoef(gap, lean[:, 0])[0, 1]
        assert (right > 0.9) == wanted
        assert (gap.std() < 0.2) == (not wanted)


def test_heads_without_a_fold_are_those_of_a_model_that_never_had_it() -> None:
    rng = np.random.default_rng(4)
    draws, query, _ = draws_from(600, rng, queries=300, alike=0.5)
    folds = grouped_folds(query, 5, 0)
    model = JointModel.of(draws, query, folds)
    changed = draws._replace(values=np.where((folds == 2)[:, None, None], 50.0, draws.values))
    other = JointModel.of(changed._replace(stands_for=np.ones((600, 3, 1))), query, folds,
                       model.settings, model.averages)  # fmt: skip
    np.testing.assert_allclose(
        model.heads({2}).coefficients, other.heads({2}).coefficients, atol=1e-8
    )


def test_an_arm_nobody_drew_and_a_metric_nobody_reported_are_left_flat() -> None:
    rng = np.random.default_rng(5)
    draws, query, _ = draws_from(300, rng, queries=300, alike=0.0)
    values = np.concatenate([draws.values, np.full((300, 3, 1), np.nan)], axis=2)
    values[:, 2] = np.nan
    known = (~np.isnan(values)).astype(np.float64)
    heads = JointModel.of(
        OneDraw(draws.scaled, values, known, known), query, grouped_folds(query, 5, 0)
    ).heads()
    assert np.isfinite(heads.coefficients).all()
    assert np.ptp(heads.expected(draws.scaled)[:, 2, 1]) == 0.0
    np.testing.assert_array_equal(heads.intercepts[:, 1], 0.0)
