"""The logistic regression finds scikit-learn's minimum."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from training.reporting.logistic import fit_logistic


@pytest.mark.parametrize(("inverse_penalty", "slope"), [(0.03, 1.0), (10.0, 1.0), (1.0, 50.0)])
def test_the_coefficients_are_those_of_scikit_learn(inverse_penalty: float, slope: float) -> None:
    """A slope of 50 all but separates the answers."""
    rng = np.random.default_rng(3)
    columns = rng.standard_normal((2_000, 6))
    odds = slope * columns[:, 0] - 0.5 * columns[:, 1] - 1.0
    known = rng.random(len(odds)) < 1.0 / (1.0 + np.exp(-odds))
    found = fit_logistic(columns, known, inverse_penalty)
    expected = LogisticRegression(C=inverse_penalty, tol=1e-10, max_iter=2_000).fit(columns, known)
    np.testing.assert_allclose(found.coefficients, expected.coef_[0], atol=1e-5)
    assert found.intercept == pytest.approx(expected.intercept_[0], abs=1e-5)
