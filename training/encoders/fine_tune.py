"""Fine-tunes a static encoder's token vectors to tell how a query's arms will do.

The encoder is a sentence-transformers model, StaticEmbedding → Normalize → Dense, whose dense layer
is a head that predicts every arm's metrics. The head starts at its ridge solution, so that the
table moves only for what a head on the old vectors can't say. Both are fitted by plain stochastic
gradient descent on the squared error, and the pass is kept that predicts a validation part best:
gradient descent stopped early is shrinkage towards the start (Yao, Rosasco and Caponnetto 2007,
"On early stopping in gradient descent learning"). A token moves by its gradient, hence the less the
rarer it is; Adam would move a token that was seen once as fast as any.

A plain loop over the model instead of `SentenceTransformerTrainer`: that one needs two more
packages (datasets, accelerate), and its optimisers take no sparse gradients, without which each
step of a few hundred tokens would move the whole table of millions of numbers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.encoders.text import well_formed
from training.encoders.extras import load_extra
from training.encoders.static_table import StaticTable
from training.fit.folds import Ints, grouped_folds

EXTRA = "encoders"
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Of the head, on unit-norm embeddings; the middle of what blends are offered.
HEAD_PENALTY = 30.0
# A step moves a token's vector by at most about this, for an error of one standard deviation and in
# units of the vector's own length.
TABLE_RATE, HEAD_RATE = 0.1, 0.15
# Rows a step, and steps a pass where there are fewer rows.
BATCH, LEAST_STEPS = 128, 20
MOST_PASSES, PATIENCE = 60, 5
# An amount that never varies leaves nothing but rounding.
_ROUNDING = 1e-9
# One part in this many is kept for deciding when to stop.
_PARTS = 7


class FineTuned(NamedTuple):
    """The table, the passes it took (0: the start predicts best), and the validation part's mean
    squared error before and after, in variances of the outcomes.
    """

    table: StaticTable
    passes: int
    before: float
    after: float


def require_fine_tuning() -> None:
    """Raises EncoderError, naming the extra, where the libraries aren't installed."""
    for module in ("torch", "sentence_transformers"):
        load_extra(module, EXTRA)


def settings() -> dict[str, float]:
    """For an encoder's record."""
    return {
        "head_penalty": HEAD_PENALTY,
        "table_rate": TABLE_RATE,
        "head_rate": HEAD_RATE,
        "batch": BATCH,
        "least_steps": LEAST_STEPS,
        "most_passes": MOST_PASSES,
        "patience": PATIENCE,
    }


def fine_tune(
    start: StaticTable, queries: Sequence[str], values: Floats, groups: Ints, *, seed: int
) -> FineTuned:
    """Fine-tune the table on full-information rows.

    Args:
        start: where from.
        queries: n texts.
        values: (n, A, M) outcomes, NaN where unknown.
        groups: (n,) near-duplicates share a number.
        seed: of the validation part and the batches' order; the same one gives the same table.

    Raises EncoderError where the extra is missing.
    """
    require_fine_tuning()
    targets = _standardised(values)
    kept_back = grouped_folds(groups, _PARTS, seed) == 0
    if not targets.shape[1] or not kept_back.any() or kept_back.all():
        return FineTuned(start, 0, 1.0, 1.0)
    texts = [well_formed(query) for query in queries]
    with _one_seeded_thread(seed):
        return _Loop(start, texts, targets, kept_back).run(np.random.default_rng(seed))


class _Loop:
    """The model, its optimisers and the rows."""

    def __init__(
        self, start: StaticTable, texts: list[str], targets: Floats, kept_back: Bools
    ) -> None:
        import torch

        self.start, self.texts = start, texts
        self.targets = torch.tensor(targets, dtype=torch.float32)
        self.learned = np.flatnonzero(~kept_back)
        self.kept_back = np.flatnonzero(kept_back)
        unit = start.encoder().encode(texts).astype(np.float64)
        head = _ridge(unit[self.learned], targets[self.learned])
        self.model, self.table = _model(start, *head)
        self.silent = torch.tensor(np.flatnonzero(~start.vectors.any(axis=1)))
        lengths = np.linalg.norm(start.vectors, axis=1)
        # The gradient of a direction goes with one over the vector's length.
        length = float(np.median(lengths[lengths > 0.0]))
        decay = 2.0 * HEAD_PENALTY / (len(self.learned) * targets.shape[1])
        self.optimisers = (
            torch.optim.SGD([self.table], lr=TABLE_RATE * length**2),
            torch.optim.SGD(self.model[2].parameters(), lr=HEAD_RATE, weight_decay=decay),
        )

    def run(self, rng: np.random.Generator) -> FineTuned:
        before = least = self._validation_loss()
        best, passes = self.start.vectors, 0
        for number in range(1, MOST_PASSES + 1):
            self._pass(rng)
            loss = self._validation_loss()
            if loss < least:
                least, passes = loss, number
                best = self.table.detach().numpy().copy()
            elif number - passes >= PATIENCE:
                break
        return FineTuned(self.start._replace(vectors=best), passes, before, least)

    def _pass(self, rng: np.random.Generator) -> None:
        import torch

        order = rng.permutation(self.learned)
        for rows in np.array_split(order, min(max(len(order) // BATCH, LEAST_STEPS), len(order))):
            for optimiser in self.optimisers:
                optimiser.zero_grad()
            self._loss(rows).backward()
            for optimiser in self.optimisers:
                optimiser.step()
            with torch.no_grad():
                self.table[self.silent] = 0.0

    def _validation_loss(self) -> float:
        import torch

        with torch.no_grad():
            return float(self._loss(self.kept_back))

    def _loss(self, rows: Ints) -> Any:
        """The mean squared error of the outcomes that are known, 0 where none is."""
        features = self.model[0].preprocess([self.texts[row] for row in rows])
        predicted = self.model(features)["sentence_embedding"]
        wanted = self.targets[rows]
        known = ~wanted.isnan()
        return ((predicted - wanted)[known] ** 2).sum() / max(int(known.sum()), 1)


def _standardised(values: Floats) -> Floats:
    """(n, heads) outcomes less their arm's mean, in the metric's standard deviations.

    An arm's metric that never varies, or is never known, isn't there.
    """
    known = ~np.isnan(values)
    counts = np.maximum(known.sum(axis=0), 1)
    centred = values - np.where(known, values, 0.0).sum(axis=0) / counts
    squares = np.where(known, centred**2, 0.0).sum(axis=0)
    varies = squares > _ROUNDING * np.where(known, values**2, 0.0).sum(axis=0)
    spread = np.sqrt(squares.sum(axis=0) / np.maximum(known.sum(axis=(0, 1)), 1))
    return np.asarray((centred / np.where(spread > 0.0, spread, 1.0))[:, varies])


def _ridge(unit: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Coefficients (heads, d) and intercepts (heads,) on the rows where each head is known."""
    coefficients = np.zeros((targets.shape[1], unit.shape[1]))
    intercepts = np.zeros(targets.shape[1])
    for head, wanted in enumerate(targets.T):
        known = ~np.isnan(wanted)
        if not known.any():
            continue
        x, y = unit[known], wanted[known]
        centre, mean = x.mean(axis=0), y.mean()
        gram = (x - centre).T @ (x - centre)
        gram[np.diag_indices_from(gram)] += HEAD_PENALTY
        coefficients[head] = np.linalg.solve(gram, (x - centre).T @ (y - mean))
        intercepts[head] = mean - centre @ coefficients[head]
    return coefficients, intercepts


def _model(start: StaticTable, coefficients: Floats, intercepts: Floats) -> tuple[Any, Any]:
    """The sentence-transformers model, and its table among the parameters."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import (
        Dense,
        Normalize,
        StaticEmbedding,
    )

    static = StaticEmbedding(start.tokenizer, embedding_weights=start.vectors.copy())
    static.embedding.sparse = True
    head = Dense(
        start.vectors.shape[1],
        len(intercepts),
        activation_function=torch.nn.Identity(),
        init_weight=torch.tensor(coefficients, dtype=torch.float32),
        init_bias=torch.tensor(intercepts, dtype=torch.float32),
    )
    model = SentenceTransformer(modules=[static, Normalize(), head], device="cpu")
    return model, static.embedding.weight


@contextmanager
def _one_seeded_thread(seed: int) -> Iterator[None]:
    """One thread, so that sums have one order; torch's own generator is left as it was."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
