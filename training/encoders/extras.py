"""Loading a library that only an extra brings."""

import importlib
from types import ModuleType

from policies.errors import EncoderError


def load_extra(module: str, extra: str) -> ModuleType:
    """Imports `module`.

    Raises EncoderError naming the extra of this distribution that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EncoderError(
            f"{module} can't be imported ({error}): pip install "
            f'"adaptive-rag-router[{extra}]" brings it'
        ) from error
