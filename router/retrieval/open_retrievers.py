"""The configured retrievers."""

import logging
from collections.abc import Mapping

from policies.encoders import Encoder, load_encoder
from policies.errors import SettingsError
from router.retrieval.open_retriever import MissingExtraError, open_retriever
from router.retrieval.retriever import Retriever
from router.settings import RetrieverSettings

_log = logging.getLogger(__name__)


def open_retrievers(
    settings: Mapping[str, RetrieverSettings],
    *,
    environ: Mapping[str, str],
    encoders: Mapping[str, Encoder] = {},
) -> dict[str, Retriever]:
    """A client for each `[retrievers.NAME]`; none of them connects yet.

    One whose package isn't installed is left out, with a warning: decisions don't need it.

    Args:
        settings: the tables, by name.
        environ: the environment variables that hold keys.
        encoders: encoders that are loaded already, by their specification.

    Raises:
        SettingsError: a key that is named isn't set.
        EncoderError: an encoder can't be loaded.
    """
    loaded = dict(encoders)
    retrievers: dict[str, Retriever] = {}
    for name, table in settings.items():
        if table.encoder not in loaded:
            loaded[table.encoder] = load_encoder(table.encoder)
        try:
            retrievers[name] = open_retriever(table, environ=environ, encoder=loaded[table.encoder])
        except MissingExtraError as error:
            _log.warning("retrievers.%s can't be used: %s", name, error)
        except SettingsError as error:
            error.field = f"retrievers.{name}.{error.field}"
            raise
    return retrievers
