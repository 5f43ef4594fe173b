"""Keeps the policy in service and its candidate equal to the registry's; no request is dropped."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from redis.exceptions import RedisError

from policies.artifact import Artifact, Manifest
from policies.errors import PolicyError
from policies.exploration import Exploration
from policies.loading import load_policy
from policies.policy import Policy
from policies.registries import Activation, PolicyRegistry, ReplicaStatus
from policies.registries.memory import already_active
from policies.rollout import EndedRollout, Rollout, WatchReport, stage_of
from policies.rule_policy import RulePolicy
from router.deciding.decider import Decider
from router.log.errors import StoreUnavailableError
from router.metrics import Metrics
from router.policy_cache import PolicyCache
from router.serving_policy import ActivePolicy, ServingPolicy, fit_to_service

T = TypeVar("T")

_LOGGER = logging.getLogger(__name__)
# A swap must reach every replica within 2 s; a poll is one GET.
POLL_S = 0.25
_REPORT_EVERY_S = 2.0


class Survey(NamedTuple):
    """What the registry knows: stored policies, the active one, replicas, rollouts."""

    manifests: list[Manifest]
    active: Activation | None
    replicas: list[ReplicaStatus]
    rollout: Rollout | None
    report: WatchReport | None
    past_rollouts: list[EndedRollout]


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
        self.candidate_refused: str | None = None
        """Why this replica leaves the registry's candidate out."""
        self._rollout: Rollout | None = None
        self._applied = -1
        self._reported_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._applying = asyncio.Lock()
        # A thread of its own: long queries that are encoded on others mustn't hold up a swap.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policy-watcher")
        self.active = ActivePolicy(self._built_in())

    @property
    def rollout(self) -> Rollout | None:
        """The rollout whose candidate is in shadow or canary here."""
        return self._rollout

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

    async def survey(self) -> Survey:
        """All that the registry knows.

        Raises:
            StoreUnavailableError: the registry can't be reached.
        """
        registry = self._registry
        return await self._reach(
            lambda: Survey(
                registry.manifests(),
                registry.active(),
                registry.replicas(),
                registry.rollout(),
                registry.watch_report(),
                registry.past_rollouts(),
            )
        )

    async def activate(self, version: str) -> ServingPolicy:
        """Make a stored version active everywhere; gives back what served here before.

        Raises:
            UnknownPolicyError: it isn't stored.
            ArtifactError, PolicyFitError: it is damaged or doesn't fit; the incumbent stays.
            StoreUnavailableError: the registry can't be reached.
        """

        def check_and_activate() -> None:
            self._check(version)
            self._registry.activate(version, by=f"http@{self._replica}")

        previous = self.active.current
        await self._reach(check_and_activate)
        await self._apply_now()
        return previous

    async def roll_out(self, version: str, share: float) -> Rollout:
        """Put a stored version into shadow (share 0) or canary everywhere, beside the incumbent.

        Raises:
            ShareError: a share that no canary can have.
            UnknownPolicyError: it isn't stored.
            AlreadyActiveError: it serves already.
            ArtifactError, PolicyFitError: it is damaged or doesn't fit; nothing changes.
            StoreUnavailableError: the registry can't be reached.
        """
        stage_of(share)

        def check_and_roll_out() -> Rollout:
            self._check(version)
            rules_serve = self._registry.active() is None
            if rules_serve and version == self._built_in().policy.version:
                raise already_active(version)
            return self._registry.roll_out(version, share=share, by=f"http@{self._replica}")

        rollout = await self._reach(check_and_roll_out)
        await self._apply_now()
        return rollout

    async def rollback(self) -> tuple[ServingPolicy, EndedRollout | None]:
        """End the rollout everywhere or, without one, take back the last activation.

        Gives back what served here before, and the rollout that has ended.

        Raises:
            RollbackError: the built-in rules serve already, alone.
            RolloutChangedError: the rollout has ended at this moment.
            StoreUnavailableError: the registry can't be reached.
        """

        def roll_back() -> EndedRollout | None:
            by = f"http@{self._replica}"
            rollout = self._registry.rollout()
            if rollout is not None:
                # This one or nothing: if it ends meanwhile, what serves mustn't be taken back.
                return self._registry.end_rollout(rollout, by=by)
            self._registry.rollback(by=by)
            return None

        previous = self.active.current
        ended = await self._reach(roll_back)
        self._metrics.observe_rollback("request")
        await self._apply_now()
        return previous, ended

    async def follow(self) -> None:
        """Apply at once what the registry says; what can't be reached is applied when it can."""
        await self._apply_now()

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
            activation = self._registry.active()
            serving, artifact = self._load(activation)
            rollout, candidate = self._load_candidate(activation)
        except (RedisError, OSError):
            raise  # nothing is wrong with the policy: try again
        except Exception as error:
            self.refused = self._refusal("policy refused, the incumbent stays", error)
            # The registry's candidate was meant to stand beside the policy that is refused.
            self._rollout, self.candidate_refused = None, None
            self.active.swap(self.active.current.without_candidate())
        else:
            self.refused = None
            self._rollout = rollout if candidate is not None else None
            if rollout is not None and candidate is not None:
                serving = serving._replace(candidate=candidate, candidate_share=rollout.share)
            previous = self.active.swap(serving)
            self._metrics.observe_swap()
            self._cache.write(artifact)
            _LOGGER.info(
                "policy %s %s serves (before: %s)%s",
                serving.policy.name,
                serving.policy.version,
                previous.policy.version,
                f", {self._rollout.version} in {self._rollout.stage}" if self._rollout else "",
            )
        self._applied = generation

    def _refusal(self, what: str, error: Exception) -> str:
        """Count and log that a policy can't serve here; the reason."""
        expected = isinstance(error, PolicyError)
        reason = str(error) if expected else f"it can't be loaded: {error!r}"
        self._metrics.observe_refusal()
        _LOGGER.error("%s: %s", what, reason, exc_info=None if expected else error)
        return reason

    def _load_candidate(
        self, activation: Activation | None
    ) -> tuple[Rollout | None, ServingPolicy | None]:
        """The rollout, and its candidate if it fits; else the incumbent serves alone."""
        self.candidate_refused = None
        rollout = self._registry.rollout()
        if rollout is None or rollout.incumbent != (activation.version if activation else ""):
            return None, None  # or the active policy has changed since: the next poll sees both
        try:
            artifact = self._registry.fetch(rollout.version)
            return rollout, self._fit(load_policy(artifact), promoted=True)
        except (RedisError, OSError):
            raise
        except Exception as error:
            self.candidate_refused = self._refusal("candidate refused, it is left out", error)
            return rollout, None

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

    def _check(self, version: str) -> None:
        """Raise what keeps a stored version from serving here; the built-in rules can be stored."""
        if version == self._built_in().policy.version:
            self._registry.publish(self._built_in().policy.artifact())
        self._fit(load_policy(self._registry.fetch(version)), promoted=True)

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
            candidate=self._rollout.version if self._rollout is not None else "",
            candidate_refused=self.candidate_refused,
        )
