"""A service in this process, over in-memory twins of the store and the registry."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from litestar.testing import AsyncTestClient

from policies.encoders import Encoder
from policies.registries.memory import MemoryPolicyRegistry
from router.app import create_app
from router.log.memory_reader import MemoryEventReader
from router.log.memory_store import MemoryEventStore
from router.models.model_server import ModelServer
from router.retrieval.retriever import Retriever
from router.settings import Settings

ADMIN = {"Authorization": "Bearer admin-secret"}


class Service(NamedTuple):
    """A client of the running service, and the twins beneath it."""

    client: AsyncTestClient
    store: MemoryEventStore
    registry: MemoryPolicyRegistry


StartService = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def start_service(tmp_path: Path, encoder: Encoder) -> StartService:
    """Start a service with these settings; its admin key is `admin-secret`."""

    @asynccontextmanager
    async def start(
        settings: Settings | None = None,
        environ: dict[str, str] | None = None,
        registry: MemoryPolicyRegistry | None = None,
        models: dict[str, ModelServer] | None = None,
        retrievers: dict[str, Retriever] | None = None,
    ) -> AsyncIterator[Service]:
        store, registry = MemoryEventStore(), registry or MemoryPolicyRegistry()
        app = create_app(
            settings or Settings(),
            data=tmp_path,
            store=store,
            registry=registry,
            environ={"RAG_ROUTER_ADMIN_KEY": "admin-secret", **(environ or {})},
            encoder=encoder,
            models=models,
            retrievers=retrievers,
            reader=MemoryEventReader(store),
        )
        async with AsyncTestClient(app) as client:
            yield Service(client, store, registry)

    return start


@pytest.fixture
async def service(start_service: StartService) -> AsyncIterator[Service]:
    """A service without configuration."""
    async with start_service() as started:
        yield started
