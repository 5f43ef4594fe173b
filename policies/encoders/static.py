"""A static encoder: a table of token vectors, their mean, its direction.

Serves what `rag-policy encoder distill` writes (model2vec's method): the weight of each token is
already in the table, so a query costs one tokenizer call, one gather and one sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from policies.encoders.digest import files_digest
from policies.encoders.plain_words import words_of
from policies.encoders.text import well_formed
from policies.encoders.tokenizer_file import read_tokenizer
from policies.errors import EncoderError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

MODEL_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"

# A query of 32,768 characters can have as many tokens. Summing them in steps bounds the memory, and
# the rounding too: 7,500 tokens in a row were off by 6e-6, in steps of 256 by less than 1e-6.
_TEXTS_A_STEP = 256
_TOKENS_A_STEP = 256


class StaticEncoder:
    """Gathers and sums rows of an int8 token table.

    table: (tokens, dimension) int8; scale: (tokens, 1) float32. Token t's vector is
    `scale[t] * table[t]`; the unknown token's scale is 0, so that it counts for nothing.
    The table stays int8 in memory: 7.6 MB instead of 30, for two microseconds a query.
    """

    quick = True

    def __init__(
        self,
        name: str,
        digest: str,
        table: NDArray[np.int8],
        scale: NDArray[np.float32],
        tokenizer: Tokenizer,
    ) -> None:
        self.version = f"static:{name}:{digest}"
        self.dimension = table.shape[1]
        self._table = table
        self._scale = scale
        self._tokenizer = tokenizer
        self._words = words_of(tokenizer)

    @classmethod
    def load(cls, directory: Path) -> StaticEncoder:
        """Reads `model.safetensors` and `tokenizer.json`.

        Raises EncoderError where one is missing, unreadable, or doesn't fit the other.
        """
        model, vocabulary = directory / MODEL_FILE, directory / TOKENIZER_FILE
        for file in (model, vocabulary):
            if not file.is_file():
                raise EncoderError(
                    f"{directory} has no {file.name}: not a static encoder. Write one with "
                    f"rag-policy encoder distill --model MODEL --to {directory}",
                    field="encoder",
                )
        name, table, scale = _read_table(model)
        tokenizer = read_tokenizer(vocabulary)
        if tokenizer.get_vocab_size() != len(table):
            raise EncoderError(
                f"{vocabulary} has {tokenizer.get_vocab_size()} tokens, {model} has {len(table)}: "
                "they don't belong together; distil the encoder again",
                field="encoder",
            )
        return cls(name, files_digest([model, vocabulary]), table, scale, tokenizer)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimension) rows of norm 1; a text without a known token gives zeros."""
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_A_STEP):
            step = texts[start : start + _TEXTS_A_STEP]
            for row, ids in zip(rows[start:], self._token_ids(step), strict=False):
                self._write_direction(ids, row)
        return rows

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's token ids: by its words where it is plain, from the tokenizer otherwise."""
        if self._words is None:
            return _tokenize(self._tokenizer, texts)
        found = [self._words.ids(text) for text in texts]
        others = [text for text, ids in zip(texts, found, strict=True) if ids is None]
        asked = iter(_tokenize(self._tokenizer, others) if others else ())
        return [next(asked) if ids is None else ids for ids in found]

    def _write_direction(self, ids: list[int], row: NDArray[np.float32]) -> None:
        """Writes the direction of the tokens' sum into `row`, leaving zeros where there is none.

        Sums in numpy, token after token, not through BLAS, whose order of summation depends on
        its threads: a row must be the same bits whatever else runs.
        """
        index = np.array(ids, dtype=np.intp)
        for start in range(0, len(index), _TOKENS_A_STEP):
            step = index[start : start + _TOKENS_A_STEP]
            vectors = self._table.take(step, axis=0).astype(np.float32)
            vectors *= self._scale.take(step, axis=0)
            row += np.add.reduce(vectors, axis=0)
        length = math.sqrt(np.add.reduce(row * row))
        if length > 0.0:
            row /= length


def _tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    try:
        return [encoding.ids for encoding in _encodings(tokenizer, texts)]
    except TypeError:  # how tokenizers refuses a surrogate
        clean = [well_formed(text) for text in texts]
        return [encoding.ids for encoding in _encodings(tokenizer, clean)]


def _encodings(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    if len(texts) == 1:
        # In the calling thread: a batch call would start the tokenizer's thread pool.
        return [tokenizer.encode(texts[0], add_special_tokens=False)]
    return tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)


def _read_table(file: Path) -> tuple[str, NDArray[np.int8], NDArray[np.float32]]:
    """The encoder's name, its table and its scales."""
    try:
        with safe_open(file, framework="numpy") as tensors:
            name = (tensors.metadata() or {}).get("name", "")
            table, scale = tensors.get_tensor("table"), tensors.get_tensor("scale")
    except (SafetensorError, OSError) as error:
        raise EncoderError(
            f"{file} can't be read as a static encoder: {error}", field="encoder"
        ) from error
    if not name or table.dtype != np.int8 or scale.shape != (len(table), 1):
        raise EncoderError(
            f"{file} isn't a static encoder's table: write it with rag-policy encoder distill",
            field="encoder",
        )
    return name, table, scale
