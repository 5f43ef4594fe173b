"""An ONNX encoder: any sentence-transformers model, without torch.

Serves what `rag-policy encoder export` writes. The graph holds the whole model, pooling included;
tokenization is the model's own `tokenizer.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from policies.encoders.digest import files_digest
from policies.encoders.text import well_formed
from policies.encoders.tokenizer_file import read_tokenizer
from policies.errors import EncoderError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

GRAPH_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"  # beside the graph, where the model is over protobuf's 2 GB
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "encoder.json"


class OnnxConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `encoder.json` holds.

    `inputs` are the graph's inputs in order, of input_ids, attention_mask and token_type_ids;
    `max_tokens` cuts longer texts, special tokens counted; `prompt` precedes every text.
    """

    name: str
    dimension: int
    inputs: tuple[str, ...]
    max_tokens: int | None = None
    prompt: str = ""


class OnnxEncoder:
    """Runs an exported sentence-transformers model on onnxruntime, one thread.

    Texts run one at a time: in a padded batch the last bits of a vector would depend on the
    texts beside it, and a logged decision could not be replayed.
    """

    quick = False

    def __init__(self, config: OnnxConfig, digest: str, session: Any, tokenizer: Tokenizer) -> None:
        self.version = f"onnx:{config.name}:{digest}"
        self.dimension = config.dimension
        self._config = config
        self._session = session
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, directory: Path) -> OnnxEncoder:
        """Reads `encoder.json`, `model.onnx` and `tokenizer.json`.

        Raises EncoderError where one is missing or unreadable, or onnxruntime isn't installed.
        """
        files = [directory / name for name in (CONFIG_FILE, TOKENIZER_FILE, GRAPH_FILE)]
        for file in files:
            if not file.is_file():
                raise EncoderError(
                    f"{directory} has no {file.name}: not an exported encoder. Write one with "
                    f"rag-policy encoder export --model MODEL --to {directory}",
                    field="encoder",
                )
        config = _read_config(directory / CONFIG_FILE)
        tokenizer = read_tokenizer(directory / TOKENIZER_FILE)
        if config.max_tokens is not None:
            tokenizer.enable_truncation(config.max_tokens)
        session = _open_session(directory / GRAPH_FILE)
        weights = directory / WEIGHTS_FILE
        digest = files_digest([*files, weights] if weights.is_file() else files)
        return cls(config, digest, session, tokenizer)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimension) rows of norm 1, as `SentenceTransformer.encode` gives them.

        A model that doesn't normalise its vectors is served with `normalize_embeddings=True`.
        """
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for number, text in enumerate(texts):
            encoding = self._tokenizer.encode(well_formed(self._config.prompt + text))
            vector = self._session.run(None, self._feed(encoding))[0][0]
            length = np.linalg.norm(vector)
            if length > 0.0:
                rows[number] = vector / length
        return rows

    def _feed(self, encoding: Encoding) -> dict[str, NDArray[np.int64]]:
        """The graph's inputs, each (1, tokens)."""
        values = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        return {name: np.array([values[name]], dtype=np.int64) for name in self._config.inputs}


def _read_config(file: Path) -> OnnxConfig:
    try:
        return msgspec.json.decode(file.read_bytes(), type=OnnxConfig)
    except msgspec.MsgspecError as error:
        raise EncoderError(
            f"{file} isn't an exported encoder's configuration: {error}", field="encoder"
        ) from error


def _open_session(graph: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EncoderError(
            'an onnx encoder needs onnxruntime: pip install "adaptive-rag-router[onnx]"',
            field="encoder",
        ) from error
    options = onnxruntime.SessionOptions()
    # A worker answers one query at a time; more threads would take the other workers' cores.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            str(graph), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise EncoderError(f"{graph} can't be loaded: {error}", field="encoder") from error
