"""Keeps the serving policy equal to the registry's active one, without dropping a request."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from redis.exceptions import RedisError

from policies.artifact import Artifact, Manifest
from policies.errors import PolicyError
from policies.exploration import Exploration
from policies.loading import load_policy
from policies.policy import Policy
from policies.registries import Activation, PolicyRegistry, ReplicaStatus
from policies.rule_policy import RulePolicy
from router.decider import Decider
from router.log.errors import StoreUnavailableError
from router.metrics import Metrics
from router.policy_cache import PolicyCache
from router.serving_policy import ActivePolicy, ServingPolicy, fit_to_service

T = TypeVar("T")

_LOGGER = logging.getLogger(__name__)
# A swap must reach every replica within 2 s; a poll is one GET.
POLL_S = 0.25
_REPORT_EVERY_S = 2.0


class PolicyWatcher:
    """Polls the registry's generation; on a change loads, fits and swaps, or keeps the incumbent.

    The registry's calls block, so they run on a thread; the swap itself is one reference.
    """

    def __init__(
        self,
        registry: PolicyRegistry,
        decider: Decider,
        exploration: Exploration,
        cache: PolicyCache,
        metrics: Metrics,
        replica: str,
    ) -> None:
        self._registry = registry
        self._decider = decider
        self._exploration = exploration
        self._cache = cache
        self._metrics = metrics
        self._replica = replica
        self.refused: str | None = None
        """Why this replica keeps its incumbent instead of the registry's active policy."""
        self._applied = -1
        self._reported_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._applying = asyncio.Lock()
        # A thread of its own: long queries that are encoded on others mustn't hold up a swap.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policy-watcher")
        self.active = ActivePolicy(self._built_in())

    async def start(self) -> None:
        """Serve the active policy, or the cached one if that can't be had; then keep watching."""
        try:
            await self._poll()
        except (RedisError, OSError) as error:
            _LOGGER.warning("the policy registry can't be reached yet: %s", error)
            await self._run(lambda: self._serve_cached("the policy registry can't be reached"))
        else:
            if self.refused is not None:
                reason = f"the active policy is refused ({self.refused})"
                await self._run(lambda: self._serve_cached(reason))
        self._task = asyncio.create_task(self._watch(), name="policy-watcher")

    async def stop(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def survey(self) -> tuple[list[Manifest], Activation | None, list[ReplicaStatus]]:
        """All stored policies, the active one, and what each replica serves.

        Raises:
            StoreUnavailableError: the registry can't be reached.
        """
        registry = self._registry
        return await self._reach(
            lambda: (registry.manifests(), registry.active(), registry.replicas())
        )

    async def activate(self, version: str) -> ServingPolicy:
        """Make a stored version active everywhere; gives back what served here before.

        Raises:
            UnknownPolicyError: it isn't stored.
            ArtifactError, PolicyFitError: it is damaged or doesn't fit; the incumbent stays.
            StoreUnavailableError: the registry can't be reached.
        """

        def check_and_activate() -> None:
            if version == self._built_in().policy.version:
                self._registry.publish(self._built_in().policy.artifact())
            self._fit(load_policy(self._registry.fetch(version)), promoted=True)
            self._registry.activate(version, by=f"http@{self._replica}")

        previous = self.active.current
        await self._reach(check_and_activate)
        await self._apply_now()
        return previous

    async def rollback(self) -> ServingPolicy:
        """Take back the last activation everywhere; gives back what served here before.

        Raises:
            RollbackError: the built-in rules serve already.
            StoreUnavailableError: the registry can't be reached.
        """
        previous = self.active.current
        await self._reach(lambda: self._registry.rollback(by=f"http@{self._replica}"))
        await self._apply_now()
        return previous

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _reach(self, call: Callable[[], T]) -> T:
        try:
            return await self._run(call)
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(f"the policy registry can't be reached: {error}") from error

    async def _watch(self) -> None:
        away = False
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self._poll()
                away = False
            except (RedisError, OSError) as error:
                if not away:
                    _LOGGER.warning("the policy registry is away, the incumbent stays: %s", error)
                away = True
            except Exception:
                # The watcher must outlive a defect: the next generation may be sound.
                _LOGGER.exception("the policy watcher stumbled, the incumbent stays")

    async def _apply_now(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._poll()

    async def _poll(self) -> None:
        async with self._applying:
            await self._run(self._catch_up)

    def _catch_up(self) -> None:
        """Apply a change of the active policy, and report what is served, on the thread."""
        generation = self._registry.generation()
        changed = generation != self._applied
        if changed:
            self._apply(generation)
        if changed or time.monotonic() - self._reported_at > _REPORT_EVERY_S:
            self._reported_at = time.monotonic()
            self._registry.report_replica(self._status())

    def _apply(self, generation: int) -> None:
        """Swap to the registry's active policy; where it can't serve here, say so and keep on."""
        try:
            serving, artifact = self._load(self._registry.active())
        except (RedisError, OSError):
            raise  # nothing is wrong with the policy: try again
        except Exception as error:
            expected = isinstance(error, PolicyError)
            self.refused = str(error) if expected else f"it can't be loaded: {error!r}"
            self._metrics.observe_refusal()
            _LOGGER.error(
                "policy refused, the incumbent stays: %s",
                self.refused,
                exc_info=None if expected else error,
            )
        else:
            self.refused = None
            previous = self.active.swap(serving)
            self._metrics.observe_swap()
            self._cache.write(artifact)
            _LOGGER.info(
                "policy %s %s serves (before: %s)",
                serving.policy.name,
                serving.policy.version,
                previous.policy.version,
            )
        self._applied = generation

    def _load(self, activation: Activation | None) -> tuple[ServingPolicy, Artifact | None]:
        if activation is None:
            return self._built_in(), None
        artifact = self._registry.fetch(activation.version)
        return self._fit(load_policy(artifact), promoted=True), artifact

    def _serve_cached(self, reason: str) -> None:
        """Serve what served here last, or else the built-in rules, and say why."""
        artifact = self._cache.read()
        serving = self._built_in(fallback=f"{reason}: the built-in rules serve")
        if artifact is not None:
            note = f"{reason}: the last policy that served here, cached on disk, serves"
            try:
                serving = self._fit(load_policy(artifact), promoted=True, fallback=note)
            except PolicyError as error:
                _LOGGER.warning("the cached policy is left out: %s", error)
        self.active.swap(serving)

    def _built_in(self, fallback: str | None = None) -> ServingPolicy:
        return self._fit(RulePolicy(self._decider.arms), promoted=False, fallback=fallback)

    def _fit(self, policy: Policy, *, promoted: bool, fallback: str | None = None) -> ServingPolicy:
        featurizer = self._decider.featurizer
        return fit_to_service(
            policy,
            self._decider.arms,
            featurizer.version,
            featurizer.dimension,
            self._exploration,
            promoted=promoted and not isinstance(policy, RulePolicy),
            fallback=fallback,
        )

    def _status(self) -> ReplicaStatus:
        return ReplicaStatus(
            replica=self._replica,
            version=self.active.current.policy.version,
            generation=self._applied,
            arms=[arm.name for arm in self._decider.arms],
            feature_version=self._decider.featurizer.version,
            at=time.time(),
            refused=self.refused,
        )
