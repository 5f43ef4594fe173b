"""/health/live, /health/ready and /metrics: for orchestrators and Prometheus."""

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE

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

    @get("/ready", summary="Can it decide?", raises=[])
    async def ready(self, services: NamedDependency[Services]) -> Response[Health]:
        """200 while it can decide; without its store it still can, and says so."""
        if services.stopping:
            return Response(Health(status="stopping"), status_code=HTTP_503_SERVICE_UNAVAILABLE)
        serving = services.active.current
        store = "up" if services.log.store_up else "down"
        degraded = store == "down" or serving.fallback is not None
        health = Health(
            status="degraded" if degraded else "ready",
            policy=serving.policy.version,
            store=store,
            fallback=serving.fallback,
        )
        return Response(health, status_code=HTTP_200_OK)


class MetricsController(Controller):
    """Prometheus metrics; they need no key and hold no text."""

    path = "/metrics"
    tags = ("operations",)

    @get(summary="Prometheus metrics", sync_to_thread=False)
    def metrics(self, services: NamedDependency[Services]) -> Response[bytes]:
        """All metrics in Prometheus' text format."""
        return Response(services.metrics.render(), media_type=CONTENT_TYPE)
