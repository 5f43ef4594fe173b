"""The engine on a Dask cluster: https://distributed.dask.org.

Dask places the steps, moves their results and does again what was lost with a worker; here is only
what it is asked, and how its failures are told.
"""

import logging
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from distributed import Client, KilledWorker, LocalCluster, wait
from distributed.client import FutureCancelledError, FuturesCancelledError
from distributed.comm import CommClosedError

from policies.version import VERSION
from training.engines import Part, Result
from training.errors import TrainingError
from training.fit.threads import one_thread

# Steps that wait or run for each thread of the cluster: enough that none is idle while results are
# added up, few enough that results don't pile up in the workers' memory.
_AHEAD = 3
_CONNECT_S, _WORKERS_S = 10.0, 60.0
_LOOK_S = 2.0  # how often it is looked whether there are workers, while a result is waited for


class EngineError(TrainingError):
    """The cluster can't be reached, or failed on the way."""

    exit_status = 1


class DaskEngine:
    """Maps steps over parts on the cluster of a client."""

    def __init__(self, client: Client) -> None:
        """Store the client, which the caller closes."""
        self._client = client

    def map(self, step: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """As `training.engines.Engine` says; what is left is cancelled if the caller stops early.

        Raises:
            EngineError: the cluster was lost or has had no worker for a minute, a step was lost
                with several workers in turn, or the cluster hasn't got this package.
        """
        left, running = iter(parts), deque[Any]()
        ahead = _AHEAD * max(1, sum(self._client.nthreads().values()))
        try:
            with _failures_told():
                while True:
                    while len(running) < ahead and (part := next(left, _NONE)) is not _NONE:
                        running.append(self._submitted(step, part))
                    if not running:
                        return
                    result = self._result(running[0])
                    running.popleft()
                    yield result
        finally:
            if running:
                self._client.cancel(list(running))

    def _result(self, future: Any) -> Any:
        seen = time.monotonic()
        while not future.done():
            with suppress(TimeoutError):
                wait([future], timeout=_LOOK_S)
            if self._client.nthreads():
                seen = time.monotonic()
            elif time.monotonic() - seen > _WORKERS_S:
                raise EngineError(
                    f"the Dask cluster has had no worker for {_WORKERS_S:g} s: they may be short "
                    "of memory; look at their logs, and start some"
                )
        try:
            return future.result()
        except ImportError as error:
            raise _not_installed(str(error)) from error

    def _submitted(self, step: Callable[[Part], Result], part: Part) -> Any:
        with warnings.catch_warnings():
            # A step carries what it needs of the passes before it: some megabytes of coefficients.
            warnings.filterwarnings("ignore", message="Sending large graph", category=UserWarning)
            return self._client.submit(_run, step, part, pure=False)


_NONE: Any = object()
# What Dask's scheduler says where it hasn't got a module of what was sent.
_NOT_UNDERSTOOD = "Error during deserialization"


def _run(step: Callable[[Part], Result], part: Part) -> Result:
    """A step as a worker runs it: its linear algebra on one thread, as on the local engine."""
    with one_thread():
        return step(part)


@contextmanager
def dask_engine(scheduler: str | None) -> Iterator[DaskEngine]:
    """An engine on the cluster of a scheduler, such as tcp://host:8786.

    Without an address, a cluster of this machine's own, a process for each processor, that ends
    with the block.

    Raises:
        EngineError: no scheduler answers there, it has no worker, or it or one of them hasn't got
            this release of the package.
    """
    with _failures_told(), _own_cluster() if scheduler is None else _connected(scheduler) as client:
        yield DaskEngine(client)


@contextmanager
def _own_cluster() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=os.cpu_count(),
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    try:
        client = Client(scheduler, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise EngineError(
            f"no Dask scheduler answers at {scheduler} ({error}): start one with `dask scheduler`, "
            "check the address, or use --engine local"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except TimeoutError as error:
            raise EngineError(
                f"the Dask scheduler at {scheduler} has no worker: start one with "
                f"`dask worker {scheduler}`"
            ) from error
        _check_releases(client)
        yield client


def _check_releases(client: Client) -> None:
    # Made here, it is sent as code: what is sent by name can't say that its module isn't there.
    def release() -> str:
        try:
            import training.engines  # noqa: F401
            from policies import version
        except ImportError as error:
            return f"no adaptive-rag-router ({error})"
        return version.VERSION

    found = {"the scheduler": client.run_on_scheduler(release)}
    found |= {f"worker {address}": of for address, of in client.run(release).items()}
    for where, of in found.items():
        if of != VERSION:
            raise _not_installed(f"{where} has {of}")


def _not_installed(found: str) -> EngineError:
    return EngineError(
        f"the Dask cluster can't run this release's steps ({found}): install "
        f"adaptive-rag-router[dask] {VERSION} for its scheduler and its workers, and restart them"
    )


@contextmanager
def _failures_told() -> Iterator[None]:
    """Dask's own failures, as errors that say what to do."""
    try:
        yield
    except KilledWorker as error:
        raise EngineError(
            f"a step was lost with several Dask workers in turn ({error}): they may be short of "
            "memory; give them more"
        ) from error
    except (CommClosedError, FutureCancelledError, FuturesCancelledError) as error:
        raise EngineError(f"the Dask cluster was lost ({error}): check its scheduler") from error
    except RuntimeError as error:
        if _NOT_UNDERSTOOD not in str(error):
            raise
        raise _not_installed(f"the scheduler said: {error.__cause__ or error}") from error
