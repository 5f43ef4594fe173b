"""Standard errors from sums are those of the rows."""

import numpy as np
import pytest

from training.fit.cluster_sums import ClusterSums
from training.judge.variance import standard_error


@pytest.mark.parametrize("clusters", [np.arange(300), np.arange(300) // 7])
def test_they_are_the_sandwich_of_the_rows(clusters: np.ndarray) -> None:
    values = np.random.default_rng(0).normal([3.0, 0.0], size=(300, 2))
    parts = [ClusterSums.of(values[some], clusters[some]) for some in
             (clusters < 20, (clusters >= 20) & (clusters < 25), clusters >= 25)]  # fmt: skip
    total = parts[0].plus(parts[1]).plus(parts[2])
    np.testing.assert_allclose(total.means, values.mean(axis=0))
    wanted = [standard_error(column, clusters) for column in values.T]
    np.testing.assert_allclose(total.standard_errors, wanted)


def test_one_cluster_tells_no_error() -> None:
    assert np.isinf(ClusterSums.of(np.ones((5, 1)), np.zeros(5, dtype=np.intp)).standard_errors)
