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
    def ready(self, services: NamedDependency[Services]) -> Response[Health]:
        """200: it decides even without its store or on an older policy, and says so. 503: it is
        about to stop; requests are still served.
        """
        serving, refused = services.active.current, services.watcher.refused
        store = "up" if services.log.store_up else "down"
        breakers = services.answerer.backends.breakers
        backends: dict[str, str] = {b.name: b.state for b in breakers if b.state != "closed"}
        sound = store == "up" and serving.fallback is None and refused is None and not backends
        stopping = services.draining.begun
        health = Health(
            status="stopping" if stopping else "ready" if sound else "degraded",
            policy=serving.policy.version,
            store=store,
            fallback=serving.fallback,
            refused=refused,
            backends=backends,
            drift={state.test: state.finding for state in services.drift.states() if state.alarm},
        )
        return Response(health, status_code=503 if stopping else 200)


class MetricsController(Controller):
    """Prometheus metrics; they need no key and hold no text."""

    path = "/metrics"
    tags = ("operations",)

    @get(summary="Prometheus metrics", media_type=MediaType.TEXT, sync_to_thread=False)
    def metrics(self, services: NamedDependency[Services]) -> Response[bytes]:
        """All metrics in Prometheus' text format."""
        services.report_states()
        return Response(services.metrics.render(), media_type=CONTENT_TYPE)
