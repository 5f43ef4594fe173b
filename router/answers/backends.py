"""The models and retrievers of the configuration, each behind its breaker, and the arms on them."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from policies.settings import ArmSettings
from router.answers.breakers import Breaker
from router.answers.errors import ArmFailedError
from router.models.model_server import (
    ChatBody,
    Chunk,
    ModelServer,
    Patience,
    TokenUsage,
)
from router.retrieval.retriever import Passage, Retriever, Search
from router.settings import PriceSettings, Settings


class GuardedModel:
    """A model server that isn't called while its breaker is open."""

    def __init__(
        self,
        server: ModelServer,
        breaker: Breaker,
        *,
        price: PriceSettings | None = None,
        persona: str | None = None,
        parameters: Mapping[str, Any] = {},
    ) -> None:
        self._server = server
        self.breaker = breaker
        self.price = price
        self.persona = persona
        self.parameters = parameters

    async def stream(self, body: ChatBody, patience: Patience) -> AsyncGenerator[Chunk, None]:
        """ModelServer.stream.

        Raises:
            BreakerOpenError: the model is left alone for now.
            ModelError: see there.
        """
        with self.breaker.call() as is_probe:
            proven = not is_probe
            async with aclosing(self._server.stream(body, patience)) as chunks:
                async for chunk in chunks:
                    if not proven:
                        self.breaker.works()
                        proven = True
                    yield chunk

    def cost_usd(self, usage: TokenUsage | None) -> float | None:
        """US dollars for the tokens; None where price or tokens aren't known."""
        if usage is None or self.price is None:
            return None
        return (
            usage.input_tokens * self.price.input + usage.output_tokens * self.price.output
        ) / 1000.0

    async def close(self) -> None:
        """Close the server's connections."""
        await self._server.close()


class GuardedRetriever:
    """A retriever that isn't called while its breaker is open."""

    def __init__(self, retriever: Retriever, breaker: Breaker) -> None:
        self._retriever = retriever
        self.breaker = breaker

    async def search(self, search: Search) -> Sequence[Passage]:
        """Retriever.search.

        Raises:
            BreakerOpenError: the retriever is left alone for now.
            RetrievalError: see there.
        """
        with self.breaker.call():
            return await self._retriever.search(search)

    async def close(self) -> None:
        """Close the retriever."""
        await self._retriever.close()


class EquippedArm(NamedTuple):
    """An arm with what it needs to answer."""

    name: str
    settings: ArmSettings
    model: GuardedModel
    retriever: GuardedRetriever | None

    @property
    def breakers(self) -> list[Breaker]:
        """The breakers of all it depends on."""
        breakers = [self.model.breaker]
        return breakers if self.retriever is None else [*breakers, self.retriever.breaker]

    @property
    def why_not(self) -> str | None:
        """Which of them keeps it from answering now."""
        reasons = (breaker.why_not for breaker in self.breakers)
        return next((reason for reason in reasons if reason is not None), None)


class Backends:
    """All models and retrievers, and the arms that can answer with them."""

    def __init__(
        self,
        settings: Settings,
        models: Mapping[str, ModelServer],
        retrievers: Mapping[str, Retriever],
    ) -> None:
        """Put the arms together; `models` and `retrievers` are by their names in the settings."""
        self._models = {
            name: GuardedModel(
                server,
                Breaker(f"model {name}", settings.breakers),
                price=settings.models[name].price_per_1k,
                persona=settings.models[name].system_prompt,
                parameters=settings.models[name].parameters,
            )
            for name, server in models.items()
        }
        self._retrievers = {
            name: GuardedRetriever(retriever, Breaker(f"retriever {name}", settings.breakers))
            for name, retriever in retrievers.items()
        }
        self._arms: dict[str, EquippedArm] = {}
        self.unequipped: dict[str, str] = {}
        for arm in settings.arm_list():
            self._equip(arm.name, arm.retrieves, settings.arms.get(arm.name))

    def _equip(self, name: str, retrieves: bool, settings: ArmSettings | None) -> None:
        if settings is None or settings.model is None:
            self.unequipped[name] = "no model is configured for it"
        elif retrieves and settings.retriever is None:
            self.unequipped[name] = "no retriever is configured for it"
        elif retrieves and settings.retriever not in self._retrievers:
            self.unequipped[name] = (
                f"the package of its retriever {settings.retriever} isn't installed"
            )
        else:
            retriever = self._retrievers[settings.retriever or ""] if retrieves else None
            model = self._models[settings.model]
            self._arms[name] = EquippedArm(name, settings, model, retriever)

    def arm(self, name: str) -> EquippedArm:
        """An arm that can answer.

        Raises:
            ArmFailedError: it has nothing to answer with.
        """
        if name not in self._arms:
            raise ArmFailedError(self.unequipped.get(name, "it isn't configured"))
        return self._arms[name]

    def reserve(self, name: str) -> list[Breaker]:
        """Keep the probes of half-open breakers that taking the arm needs; release them later."""
        arm = self._arms.get(name)
        return [] if arm is None else [breaker for breaker in arm.breakers if breaker.reserve()]

    def unavailable(self) -> dict[str, str]:
        """The arms that can't be taken now, and why: to be masked before the draw."""
        reasons = ((name, arm.why_not) for name, arm in self._arms.items())
        return {name: reason for name, reason in reasons if reason is not None}

    def retry_after_s(self) -> int:
        """Seconds until the first open breaker lets somebody try again, at least 1."""
        return min((b.retry_after_s for b in self.breakers if b.state == "open"), default=1)

    @property
    def breakers(self) -> list[Breaker]:
        """All of them."""
        return [backend.breaker for backend in self._all()]

    async def close(self) -> None:
        """Close everything."""
        for backend in self._all():
            await backend.close()

    def _all(self) -> list[GuardedModel | GuardedRetriever]:
        return [*self._models.values(), *self._retrievers.values()]
