"""Sentence encoders: a query's text in, a unit vector out.

`static` (the default, shipped) needs numpy and tokenizers alone; `onnx` serves any
sentence-transformers model. Neither loads torch, reads the network or the environment.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from policies.errors import EncoderError

# The encoder that ships with the package: all-MiniLM-L6-v2 distilled to 256 dimensions.
SHIPPED = Path(__file__).with_name("minilm_static_256")


class Encoder(Protocol):
    """What a policy's features need of an encoder.

    `version` names the encoder's exact content: two encoders with the same version give the same
    vectors, and a policy trained on one version refuses another. Safe to share between threads.
    """

    @property
    def version(self) -> str:
        """A stable id, such as `static:minilm-l6-v2-256:0f3a…`."""

    @property
    def dimension(self) -> int:
        """Columns of what `encode` returns."""

    @property
    def quick(self) -> bool:
        """Whether a query takes microseconds, so that it may be encoded on an event loop."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimension) rows of norm 1; a text without a token gives a row of zeros.

        A text's row is the same bits alone and among others.
        """


def load_encoder(spec: str = "static") -> Encoder:
    """The encoder that a specification names.

    `static` is the shipped one, `static:PATH` a directory that `rag-policy encoder distill` wrote,
    `onnx:PATH` one that `rag-policy encoder export` wrote.

    Raises EncoderError for any other specification and for a directory that can't be used.
    """
    kind, _, path = spec.partition(":")
    if kind == "static" and (path or spec == "static"):
        from policies.encoders.static import StaticEncoder

        return StaticEncoder.load(Path(path) if path else SHIPPED)
    if kind == "onnx" and path:
        from policies.encoders.onnx import OnnxEncoder

        return OnnxEncoder.load(Path(path))
    raise EncoderError(
        f"unknown encoder {spec!r}: use 'static', 'static:PATH' or 'onnx:PATH'. To serve a "
        f"sentence-transformers model, export it first: rag-policy encoder export --model "
        f"{spec or 'MODEL'} --to DIR, then name it 'onnx:DIR'",
        field="encoder",
    )
