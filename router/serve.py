"""Runs the service: the embedded store where none is configured, then one or more workers."""

import functools
import gc
import os
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
import uvicorn
from litestar import Litestar
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from policies.encoders import load_encoder
from policies.errors import SettingsError
from policies.registries.redis_registry import RedisPolicyRegistry
from policies.store_url import StoreAddress, parse_store_url
from router.answers.backends import Backends
from router.answers.prompts import Prompts
from router.app import create_app
from router.auth import Keys
from router.embedded_store import EmbeddedStore
from router.listening import bind
from router.log.redis_reader import RedisEventReader
from router.log.redis_store import RedisEventStore
from router.metrics import MULTIPROCESS_DIRECTORY
from router.models.open_models import open_models
from router.redis_clients import open_client
from router.retrieval.open_retrievers import open_retrievers
from router.route_protocol import RouteProtocol
from router.settings import RedisSettings, Settings

# New objects, of which the garbage collector looks at those left over.
_COLLECT_AFTER = 10_000


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    workers: int,
    data: Path,
    grace_s: int,
    drain_s: float = 0.0,
    loop: Literal["asyncio", "uvloop"] = "asyncio",
) -> None:
    """Serve until told to stop; returns once every accepted event is safe.

    Told by SIGTERM, it isn't ready any more, but serves on for `drain_s` seconds. Requests that are
    under way then have `grace_s` seconds to end.

    Raises:
        PolicyError: the store, the encoder or a named secret can't be had.
        SystemExit: the address is taken, or the application can't start; the log says why.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _store(settings, data) as settings_with_store:
        require_startable(settings_with_store, os.environ)
        if workers > 1:
            _collect_metrics_of_workers(data)
        config = uvicorn.Config(
            functools.partial(build_app, settings_with_store, data, drain_s),
            factory=True,
            host=host,
            port=port,
            workers=workers,
            # Measured by benchmarks/http_load.py, which alone asks for uvloop: that makes no more
            # decisions a second, and not all of its tails are shorter.
            loop=loop,
            http=RouteProtocol,
            # Nothing here asks for a client's address, nor for the scheme it used.
            proxy_headers=False,
            access_log=False,
            log_level="info",
            server_header=False,
            timeout_graceful_shutdown=grace_s,
        )
        sock = bind(config)
        try:
            if workers > 1:
                _run_workers(config, sock)
            else:
                _run_one(config, sock)
        finally:
            sock.close()


def build_app(settings: Settings, data: Path, drain_s: float = 0.0) -> Litestar:
    """The application over Redis; a worker process calls it once."""
    _use_one_thread()
    address = store_address(settings.redis, os.environ)
    client = open_client(address, timeout_s=2.0)
    app = create_app(
        settings,
        data=data,
        store=RedisEventStore.from_url(
            address,
            prefix=settings.redis.prefix,
            shards=settings.redis.shards,
            wait_replicas=settings.redis.wait_replicas,
            index_ttl_s=int(settings.redis.trace_hours * 3600),
        ),
        registry=RedisPolicyRegistry(client, prefix=settings.redis.prefix),
        environ=os.environ,
        drain_s=drain_s,
        reader=RedisEventReader(client, prefix=settings.redis.prefix),
    )
    # What is loaded by now stays. Looked at in every full garbage collection, it would hold up all
    # requests for tens of milliseconds.
    gc.collect()
    gc.freeze()
    # Nearly all that a request makes is gone with it, by counted references. At Python's 700, the
    # looking for cycles in it took 6 % of a decision's time; so it takes half a percent.
    gc.set_threshold(_COLLECT_AFTER)
    return app


def _use_one_thread() -> None:
    """Compute on the thread that asks: workers are what several cores are for.

    On two cores, two workers whose matrix products ran on two threads took up to 2.4 times the CPU
    for a decision.
    """
    threadpool_limits(1)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def require_startable(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Find out here, once, what would make a worker fail, and be restarted, for ever.

    Returns the arms that can decide but not answer, and what they lack.

    Raises:
        SettingsError: a secret that is named isn't set, or a prompt template is wrong.
        EncoderError: an encoder can't be loaded.
    """
    Keys(settings.auth, environ)
    load_encoder(settings.encoder)
    Prompts.of(settings.answers)
    if settings.redis.url is not None:
        store_address(settings.redis, environ)
    models = open_models(settings.models, environ)
    retrievers = open_retrievers(settings.retrievers, environ=environ)
    return Backends(settings, models, retrievers).unequipped


def store_address(settings: RedisSettings, environ: Mapping[str, str]) -> StoreAddress:
    """Where the store is, with the passwords that the environment holds.

    Raises:
        SettingsError: a variable that the settings name isn't set.
    """
    if settings.url is None:
        raise ValueError("redis.url is needed here; `serve` fills in the embedded store's")
    return parse_store_url(
        settings.url,
        password=_secret(settings.password_env, environ, "redis.password_env"),
        sentinel_password=_secret(
            settings.sentinel_password_env, environ, "redis.sentinel_password_env"
        ),
    )


def _secret(variable: str | None, environ: Mapping[str, str], field: str) -> str | None:
    if variable is None:
        return None
    if not environ.get(variable):
        raise SettingsError(f"{field} names {variable}, which is unset or empty", field=field)
    return environ[variable]


@contextmanager
def _store(settings: Settings, data: Path) -> Iterator[Settings]:
    """The settings with a store in them: the configured one, or our own while we run."""
    if settings.redis.url is not None:
        yield settings
        return
    with EmbeddedStore(data) as embedded:
        redis_settings = msgspec.structs.replace(settings.redis, url=embedded.url)
        yield msgspec.structs.replace(settings, redis=redis_settings)


def _run_workers(config: uvicorn.Config, sock: socket.socket) -> None:
    """Run workers until told to stop; one that can't start ends them all, as a failure."""
    supervisor = Multiprocess(config, sockets=[sock])
    supervisor.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        raise SystemExit(1)


def _run_one(config: uvicorn.Config, sock: socket.socket) -> None:
    """Run in this process; a signal that ends the server mustn't skip stopping the store."""

    def leave(*_: object) -> None:
        raise SystemExit(0)

    # The server raises the signal that ended it once more when it is done.
    signal.signal(signal.SIGTERM, leave)
    # A closed terminal mustn't lose what is in memory.
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[sock])
    except (KeyboardInterrupt, SystemExit):
        if not server.started:
            raise
    if not server.started:
        raise SystemExit(1)


def _collect_metrics_of_workers(data: Path) -> None:
    """Have the workers keep their counts where each can add up all of them."""
    directory = data / "metrics"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    os.environ[MULTIPROCESS_DIRECTORY] = str(directory)
