"""Reads a `tokenizer.json`."""

from pathlib import Path

from tokenizers import Tokenizer

from policies.errors import EncoderError


def read_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer, without the padding and truncation that the file may ask for.

    Raises EncoderError where the file holds no tokenizer.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exception
        raise EncoderError(f"{file} isn't a tokenizer: {error}", field="encoder") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
