"""The joint model's solutions: what arms share and what sets them apart, each with its penalty."""

import numpy as np

from policies.question import QUESTION_FEATURES
from training.fit.joint_equations import Equations
from training.log.rounds import Floats

# The centre of the prior over contrast penalties: where routing was best on the tables' train rows.
CENTRE = 100.0
# What arms share has a hundred draws where a contrast has ten; it needs no stronger penalty.
_MAIN = 10.0
# Pseudo-rounds of the overall mean that an arm's own begins with.
_PRIOR_ROWS = 1.0
# Directions of the features that are looked at; the rest hardly vary between queries.
_DIRECTIONS = 100
# Beside an embedding, in the few rows of a log, a question feature counts half of what it counts
# with full information (see QUESTION_SHARE).
_QUESTION_DISCOUNT = 0.5


def solve(equations: Equations, contrast: float, arms: int) -> Floats:
    """(A, k+1) coefficients and intercepts, at this penalty of the contrasts between arms."""
    size = len(equations.right) // arms - 1
    main = min(_MAIN, contrast)
    precision = np.linalg.inv(np.full((arms, arms), 1.0 / main) + np.eye(arms) / contrast)
    matrix = equations.matrix.reshape(arms, size + 1, arms, size + 1).copy()
    each, every = np.arange(size), np.arange(arms)
    matrix[:, each, :, each] += precision
    matrix[every, size, every, size] += _PRIOR_ROWS
    flat = matrix.reshape(arms * (size + 1), -1)
    solution = np.linalg.solve(flat, equations.right)
    return np.asarray(solution, dtype=np.float64).reshape(arms, size + 1)


def basis_of(squares: Floats) -> Floats:
    """(d, k) the directions in which queries differ most, question features discounted, from the
    scaled features' sums of squares Σ x·xᵀ (d, d).
    """
    discount = np.ones(len(squares))
    discount[len(squares) - len(QUESTION_FEATURES) :] = _QUESTION_DISCOUNT
    values, vectors = np.linalg.eigh(squares * np.outer(discount, discount))
    return np.asarray(discount[:, None] * vectors[:, np.argsort(-values)[:_DIRECTIONS]])
