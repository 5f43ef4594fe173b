"""A query's vector, without holding up the event loop."""

import asyncio

import numpy as np
from numpy.typing import NDArray

from policies.encoders import Encoder

# A quick encoder takes 50 µs for a question and 1 ms for this many characters; a thread's round
# trip costs 100 µs. Others take milliseconds.
_INLINE_CHARS = 2_000


async def query_vector(encoder: Encoder, text: str) -> NDArray[np.float32] | None:
    """The text's unit vector, (dimension,); None where the encoder knows no word of it.

    Raises:
        EncoderError: the encoder can't be used.
    """
    if encoder.quick and len(text) <= _INLINE_CHARS:
        rows = encoder.encode([text])
    else:
        rows = await asyncio.to_thread(encoder.encode, [text])
    return rows[0] if rows[0].any() else None
