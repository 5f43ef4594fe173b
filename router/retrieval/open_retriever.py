"""From a `[retrievers.NAME]` table to a retriever."""

from collections.abc import Mapping

from policies.encoders import Encoder
from policies.errors import SettingsError
from router.backend_keys import read_key
from router.retrieval.retriever import Retriever
from router.settings import RetrieverSettings


def open_retriever(
    settings: RetrieverSettings, *, environ: Mapping[str, str], encoder: Encoder
) -> Retriever:
    """The retriever; nothing is read or asked before its first search.

    `encoder` is the one that `settings.encoder` names; an http service does its own.

    Raises:
        SettingsError: a key isn't in the environment, or the kind's package isn't installed.
    """
    api_key = read_key(settings.api_key_env, environ, field="api_key_env")
    if settings.kind == "http":
        from router.retrieval.http_retriever import HttpRetriever

        return HttpRetriever(settings.url or "", api_key=api_key, timeout_s=settings.timeout_s)
    try:
        if settings.kind == "lancedb":
            return _lancedb(settings, encoder)
        return _qdrant(settings, encoder, api_key)
    except ImportError as error:
        raise missing_extra(settings.kind) from error


class MissingExtraError(SettingsError):
    """A kind whose package isn't installed."""


def missing_extra(kind: str) -> MissingExtraError:
    """What to say where a kind's package isn't installed."""
    extra = "qdrant" if kind == "qdrant" else "index"
    return MissingExtraError(
        f"a {kind} retriever needs a package that isn't installed: "
        f"pip install 'adaptive-rag-router[{extra}]'",
        field="kind",
    )


def _lancedb(settings: RetrieverSettings, encoder: Encoder) -> Retriever:
    from router.retrieval.lancedb_retriever import LanceDbRetriever

    return LanceDbRetriever(
        settings.path or "", settings.collection, encoder, timeout_s=settings.timeout_s
    )


def _qdrant(settings: RetrieverSettings, encoder: Encoder, api_key: str | None) -> Retriever:
    from router.retrieval.qdrant_connection import qdrant_connector
    from router.retrieval.qdrant_retriever import QdrantRetriever

    return QdrantRetriever(
        qdrant_connector(settings, api_key, timeout_s=settings.timeout_s),
        settings.collection,
        encoder,
        where=settings.url or settings.path or "",
        timeout_s=settings.timeout_s,
    )
