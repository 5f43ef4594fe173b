"""A static encoder: a table of token vectors, their mean, its direction.

Serves what `rag-policy encoder distill` writes (model2vec's method): the weight of each token is
already in the table, so a query costs one tokenizer call, one gather and one sum.
"""

from __future__ import annotations

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

# A query of 32,768 characters can have as many tokens. Summing them in steps of so many numbers
# bounds the memory, and the rounding too: 7,500 tokens in a row were off by 6e-6. Such steps are
# also too small for BLAS to share out between threads, which would change the order of summation.
_STEP_NUMBERS = 8192
# So many texts' vectors fit the processor's second cache.
_TEXTS_A_STEP, _TEXTS_TOGETHER = 256, 16
# Below the length of any sum of tokens that count.
_NO_LENGTH = np.float32(1e-30)
# Gathered together are texts whose tokens are as many, rounded up to a multiple of this.
_MULTIPLE = 4


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
        # A token more than the table has, to pad with: its vector is clipped to the last token's,
        # its scale is 0.
        self._scale = np.append(scale[:, 0], np.float32(0.0))
        self._padding = [[len(table)] * count for count in range(_MULTIPLE)]
        self._tokens_a_step = max(_STEP_NUMBERS // self.dimension // _MULTIPLE, 1) * _MULTIPLE
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
        if len(texts) == 1:
            [ids] = self._token_ids(texts)
            return _directions(self._sums([ids]))
        rows = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_A_STEP):
            ids_of_step = self._token_ids(texts[start : start + _TEXTS_A_STEP])
            self._write_sums(ids_of_step, rows[start : start + len(ids_of_step)])
        return _directions(rows)

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's token ids: by its words where it is plain, from the tokenizer otherwise."""
        if self._words is None:
            return _tokenize(self._tokenizer, texts)
        found = [self._words.ids(text) for text in texts]
        others = [text for text, ids in zip(texts, found, strict=True) if ids is None]
        asked = iter(_tokenize(self._tokenizer, others) if others else ())
        return [next(asked) if ids is None else ids for ids in found]

    def _write_sums(self, ids: list[list[int]], rows: NDArray[np.float32]) -> None:
        """Writes the sum of each text's token vectors into its row.

        Texts of like lengths are gathered together. Each is a product by itself, of a size that its
        own tokens fix: a row's bits don't depend on the texts beside it.
        """
        alike: dict[int, list[int]] = {}
        for text, own in enumerate(ids):
            alike.setdefault(-(-len(own) // _MULTIPLE), []).append(text)
        for texts in alike.values():
            for start in range(0, len(texts), _TEXTS_TOGETHER):
                some = texts[start : start + _TEXTS_TOGETHER]
                rows[some] = self._sums([ids[text] for text in some])

    def _sums(self, ids: list[list[int]]) -> NDArray[np.float32]:
        """(n, dimension) the sums of n texts' token vectors.

        The numbers of tokens are the same once rounded up to a multiple of _MULTIPLE, to which they
        are padded with tokens that count for nothing.
        """
        padding, step = self._padding, self._tokens_a_step
        tokens = np.array([own + padding[-len(own) % _MULTIPLE] for own in ids], dtype=np.intp)
        if tokens.shape[1] <= step:
            return self._sums_of_step(tokens)
        sums = np.zeros((len(ids), self.dimension))
        for start in range(0, tokens.shape[1], step):
            sums += self._sums_of_step(tokens[:, start : start + step])
        return sums.astype(np.float32)

    def _sums_of_step(self, tokens: NDArray[np.intp]) -> NDArray[np.float32]:
        """(n, dimension) the sums of n times k tokens' vectors, from (n, k)."""
        vectors = self._table.take(tokens, axis=0, mode="clip").astype(np.float32)
        return np.asarray(np.matmul(self._scale.take(tokens)[:, None], vectors)[:, 0])


def _directions(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each of n sums at length 1, in place; zeros stay zeros."""
    lengths = np.sqrt(np.add.reduce(sums * sums, axis=1, keepdims=True))
    sums /= np.maximum(lengths, _NO_LENGTH)
    return sums


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
