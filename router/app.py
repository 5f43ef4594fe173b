"""The composition root: settings and ports in, a Litestar application out."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from litestar import Litestar
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from policies.encoders import Encoder, load_encoder
from policies.events import AnswerFinished
from policies.features import Featurizer
from policies.registries import PolicyRegistry
from policies.version import VERSION
from router.answers.answerer import Answerer
from router.answers.backends import Backends
from router.answers.prompts import Prompts
from router.api.answer import AnswerController
from router.api.chat import ChatController
from router.api.decisions import DecisionController
from router.api.feedback import FeedbackController
from router.api.gathering import Gathering
from router.api.operations import HealthController, MetricsController
from router.api.policies import PolicyController
from router.api.route import RouteController
from router.api.strict_request import MAX_BODY_BYTES, StrictRequest
from router.auth import Keys, caller_of
from router.deciding.decider import Decider
from router.drift_monitor import TEST_EVERY_S, DriftMonitor
from router.encoding_pool import EncodingPool
from router.log.event_log import EventLog
from router.log.event_reader import EventReader
from router.log.spool import Spool
from router.log.store import EventStore
from router.log.store_watch import StoreWatch
from router.metrics import Metrics
from router.models.model_server import ModelServer
from router.models.open_models import open_models
from router.policy_cache import PolicyCache
from router.policy_watcher import PolicyWatcher
from router.problems import EXCEPTION_HANDLERS
from router.retrieval.open_retrievers import open_retrievers
from router.retrieval.retriever import Retriever
from router.rollout.watch import RolloutWatch
from router.services import Services
from router.settings import Settings

_REPORT_STATES_EVERY_S = 1.0


def create_app(
    settings: Settings,
    *,
    data: Path,
    store: EventStore,
    registry: PolicyRegistry,
    environ: Mapping[str, str],
    encoder: Encoder | None = None,
    models: Mapping[str, ModelServer] | None = None,
    retrievers: Mapping[str, Retriever] | None = None,
    reader: EventReader | None = None,
    drain_s: float = 0.0,
) -> Litestar:
    """The service over a store of events and a registry of policies.

    Args:
        settings: what `router.toml` says.
        data: directory for the spool and the cached policy.
        store: where events go; the application closes it.
        registry: where policies come from.
        environ: the environment variables that settings may name.
        encoder: overrides the configured encoder.
        models: override the configured model servers, by name; the application closes them.
        retrievers: likewise the retrievers.
        reader: reads what the store holds; without it nobody here watches a rollout.
        drain_s: how long it serves on once SIGTERM has made it unready; 0 leaves SIGTERM alone.

    Raises:
        SettingsError: a secret that is named isn't set, or a prompt template is wrong.
        EncoderError: the encoder can't be loaded.
    """
    keys = Keys(settings.auth, environ)
    encoder = encoder or load_encoder(settings.encoder)
    featurizer = Featurizer(encoder)
    decider = Decider(
        settings,
        featurizer,
        text=settings.log.text,
        logged_attributes=settings.log.attributes,
        audit_share=settings.audit.share,
    )
    metrics = Metrics()
    metrics.service.describe(decider.arms)
    log = EventLog(
        store,
        Spool(data / "spool"),
        capacity=settings.log.queue_size,
        batch_delay_s=settings.log.batch_delay_ms / 1000.0,
    )
    replica = f"{socket.gethostname()}-{os.getpid()}"
    cache = PolicyCache(data)
    watcher = PolicyWatcher(registry, decider, settings.exploration, cache, metrics, replica)
    watch = (
        RolloutWatch(registry, reader, watcher, settings.rollout, metrics, replica)
        if reader is not None
        else None
    )
    backends = Backends(
        settings,
        open_models(settings.models, environ) if models is None else models,
        open_retrievers(settings.retrievers, environ=environ, encoders={settings.encoder: encoder})
        if retrievers is None
        else retrievers,
    )

    def finished(event: AnswerFinished) -> None:
        log.record(event)
        metrics.observe_answer(event)
        decider.budgets.measured(event.decision_id, event.metrics)

    answerer = Answerer(backends, Prompts.of(settings.answers), settings.answers, finished)
    names = settings.known_arm_names()
    drift = DriftMonitor(watcher.active, names, settings.drift.false_alarm_rate)
    encoding = EncodingPool(settings.encoding.threads, settings.encoding.queue_size)
    services = Services(
        settings,
        decider,
        watcher.active,
        log,
        watcher,
        metrics,
        answerer,
        drift,
        encoding,
        StoreWatch(store),
        watch,
    )

    @asynccontextmanager
    async def running(app: Litestar) -> AsyncIterator[None]:
        app.state.access, app.state.services = keys, services
        app.state.gathering = Gathering(services)
        await log.start()
        await watcher.start()
        await services.store_watch.start()
        if watch is not None:
            await watch.start()
        if drain_s:
            services.draining.heed_sigterm(drain_s)
        reporting = asyncio.create_task(_report_states(services), name="state-metrics")
        try:
            yield
        finally:
            reporting.cancel()
            encoding.close()
            await backends.close()
            if watch is not None:
                await watch.stop()
            await watcher.stop()
            await services.store_watch.stop()
            await log.stop()
            await store.close()

    return Litestar(
        route_handlers=[
            RouteController,
            AnswerController,
            ChatController,
            FeedbackController,
            DecisionController,
            PolicyController,
            HealthController,
            MetricsController,
        ],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "caller": Provide(caller_of, sync_to_thread=False),
        },
        lifespan=[running],
        request_class=StrictRequest,
        request_max_body_size=MAX_BODY_BYTES,
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="adaptive-rag-router",
            version=VERSION,
            description="Decides, for every query, how to answer it; learns it from feedback.",
            path="/schema",
            render_plugins=[SwaggerRenderPlugin()],
            components=Components(
                security_schemes={
                    "key": SecurityScheme(
                        type="http",
                        scheme="bearer",
                        description="A caller's key where keys are configured, or the admin key.",
                    )
                }
            ),
            security=[{"key": []}, {}],
        ),
    )


async def _report_states(services: Services) -> None:
    """Keep what is counted elsewhere fresh, also in workers that nobody scrapes."""
    while True:
        services.report_states()
        for _ in range(round(_REPORT_STATES_EVERY_S / TEST_EVERY_S)):
            await asyncio.sleep(TEST_EVERY_S)
            services.drift.test()
