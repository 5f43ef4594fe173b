"""/health/live, /health/ready and /metrics: for orchestrators and Prometheus."""

from litestar import Controller, MediaType, Response, get
from litestar.di import NamedDependency

from router.api.schemas import Health
from router.metrics import CONTENT_TYPE
from router.services import Services


class HealthController(Controller):
    """Probes; they need no key."""

    path = "/health"
    tags = ("operations",)

    @get("/live", summary="Is the process alive?", sync_to_thread=False)
    def live(self) -> Health:
        """Yes, if it answers at all."""
        return Health(status="live")

    @get("/ready", summary="Can it decide?", sync_to_thread=False)
    def ready(self, services: NamedDependency[Services]) -> Health:
        """200: it decides even without its store or on an older policy, and says so."""
        serving, refused = services.active.current, services.watcher.refused
        store = "up" if services.log.store_up else "down"
        breakers = services.answerer.backends.breakers
        backends: dict[str, str] = {b.name: b.state for b in breakers if b.state != "closed"}
        sound = store == "up" and serving.fallback is None and refused is None and not backends
        return Health(
            status="ready" if sound else "degraded",
            policy=serving.policy.version,
            store=store,
            fallback=serving.fallback,
            refused=refused,
            backends=backends,
            drift={state.test: state.finding for state in services.drift.states() if state.alarm},
        )


class MetricsController(Controller):
    """Prometheus metrics; they need no key and hold no text."""

    path = "/metrics"
    tags = ("operations",)

    @get(summary="Prometheus metrics", media_type=MediaType.TEXT, sync_to_thread=False)
    def metrics(self, services: NamedDependency[Services]) -> Response[bytes]:
        """All metrics in Prometheus' text format."""
        services.report_states()
        return Response(services.metrics.render(), media_type=CONTENT_TYPE)
