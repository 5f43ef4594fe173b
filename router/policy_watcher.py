"""Keeps the serving policy equal to the registry's active one, without dropping a request."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import RedisError

from policies.artifact import Artifact, Manifest
from policies.errors import ArtifactError, UnknownPolicyError
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
        self._refused: str | None = None
        self._applied = -1
        self._reported_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._applying = asyncio.Lock()
        self.active = ActivePolicy(self._built_in())

    async def start(self) -> None:
        """Serve the active policy, or the cached one without a registry; then keep watching."""
        try:
            await self._poll()
        except (RedisError, OSError) as error:
            _LOGGER.warning("the policy registry can't be reached yet: %s", error)
            await asyncio.to_thread(self._serve_cached)
        self._task = asyncio.create_task(self._watch(), name="policy-watcher")

    async def stop(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

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
            self._fit(load_policy(self._registry.fetch(version)), generation=0, promoted=True)
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

    async def _reach(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(call)
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
            generation = await asyncio.to_thread(self._registry.generation)
            changed = generation != self._applied
            if changed:
                await asyncio.to_thread(self._apply, generation)
            if changed or time.monotonic() - self._reported_at > _REPORT_EVERY_S:
                self._reported_at = time.monotonic()
                await asyncio.to_thread(self._registry.report_replica, self._status())

    def _apply(self, generation: int) -> None:
        """Swap to the registry's active policy; where it can't serve here, say so and keep on."""
        activation = self._registry.active()
        try:
            serving, artifact = self._load(activation, generation)
        except (ArtifactError, UnknownPolicyError) as error:
            self._refused = str(error)
            self._metrics.observe_refusal()
            _LOGGER.error("policy refused, the incumbent stays: %s", error)
        else:
            self._refused = None
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

    def _load(
        self, activation: Activation | None, generation: int
    ) -> tuple[ServingPolicy, Artifact | None]:
        if activation is None:
            return self._built_in(generation), None
        artifact = self._registry.fetch(activation.version)
        return self._fit(load_policy(artifact), generation, promoted=True), artifact

    def _serve_cached(self) -> None:
        artifact = self._cache.read()
        note = "the policy registry can't be reached"
        if artifact is None:
            self.active.swap(self._built_in(fallback=f"{note}: the built-in rules serve"))
            return
        try:
            serving = self._fit(
                load_policy(artifact),
                0,
                promoted=True,
                fallback=f"{note}: its cached policy serves",
            )
        except ArtifactError as error:
            self.active.swap(self._built_in(fallback=f"{note}, and its cached policy: {error}"))
        else:
            self.active.swap(serving)

    def _built_in(self, generation: int = 0, fallback: str | None = None) -> ServingPolicy:
        rules = RulePolicy(self._decider.arms)
        return self._fit(rules, generation, promoted=False, fallback=fallback)

    def _fit(
        self, policy: Policy, generation: int, *, promoted: bool, fallback: str | None = None
    ) -> ServingPolicy:
        featurizer = self._decider.featurizer
        return fit_to_service(
            policy,
            self._decider.arms,
            featurizer.version,
            featurizer.dimension,
            self._exploration,
            promoted=promoted and not isinstance(policy, RulePolicy),
            generation=generation,
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
            refused=self._refused,
        )
