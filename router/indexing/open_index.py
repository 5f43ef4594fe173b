"""From a `[retrievers.NAME]` table to the index that it searches."""

from collections.abc import Mapping

from policies.encoders import Encoder
from policies.errors import SettingsError
from router.backend_keys import read_key
from router.indexing.passage_index import PassageIndex
from router.retrieval.open_retriever import missing_extra
from router.settings import RetrieverSettings

# Writing waits longer than a search may: a server may be busy with its own indexes.
_WRITE_TIMEOUT_S = 60.0


def open_index(
    settings: RetrieverSettings, *, environ: Mapping[str, str], encoder: Encoder
) -> PassageIndex:
    """The index; nothing is read or made before it is first asked.

    Raises:
        SettingsError: it is an http service, which fills itself; a key isn't in the environment, or
            the kind's package isn't installed.
    """
    if settings.kind == "http":
        raise SettingsError(
            "an http retriever is your own search service: fill it by your own means", field="kind"
        )
    api_key = read_key(settings.api_key_env, environ, field="api_key_env")
    try:
        if settings.kind == "lancedb":
            return _lancedb(settings, encoder)
        return _qdrant(settings, encoder, api_key)
    except ImportError as error:
        raise missing_extra(settings.kind) from error


def _lancedb(settings: RetrieverSettings, encoder: Encoder) -> PassageIndex:
    from router.indexing.lancedb_index import LanceDbIndex

    return LanceDbIndex(settings.path or "", settings.collection, encoder)


def _qdrant(settings: RetrieverSettings, encoder: Encoder, api_key: str | None) -> PassageIndex:
    from router.indexing.qdrant_index import QdrantIndex
    from router.retrieval.qdrant_connection import qdrant_connector

    return QdrantIndex(
        qdrant_connector(settings, api_key, timeout_s=_WRITE_TIMEOUT_S),
        settings.collection,
        encoder,
        where=settings.url or settings.path or "",
    )
