"""The connection of one client: uvicorn's, with a way of its own for POST /v1/route.

For each request uvicorn makes a task, and the framework goes through its layers: together twice
what a decision takes among others. Here a request for a single decision that came whole and is in
order is handed to the gathering straight from the parser, and answered in one write. Every other
one, wrong ones included, goes on as ever, so errors are told in one place only.
"""

from typing import Any

from litestar import Litestar
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from router.api.deciding import hold_the_loop
from router.api.gathering import Gathering
from router.api.schemas import RouteRequest
from router.api.strict_request import decode_body
from router.auth import Caller, Keys, authorization_of
from router.services import Services

_PATH = "/v1/route"
_HEAD = STATUS_LINE[200] + b"content-type: application/json\r\ncontent-length: %d\r\n"


class RouteProtocol(HttpToolsProtocol):
    """Made by uvicorn for each connection; the application must be create_app's, unwrapped."""

    _held: RequestResponseCycle | None = None
    """A request for a decision whose body isn't whole yet."""

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client; a body that isn't whole by now is read the usual way."""
        super().data_received(data)
        self._let_go()

    def on_message_complete(self) -> None:
        """Have the request decided, if it is one that we keep."""
        super().on_message_complete()
        if self._held is not None and self._held is self.cycle:
            self._gather(self._held)

    def on_response_complete(self) -> None:
        """Go on to the client's next request."""
        super().on_response_complete()
        self._let_go()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        scope = cycle.scope
        mine = scope["path"] == _PATH and scope["method"] == "POST" and isinstance(app, Litestar)
        # The usual way waits for a client that doesn't read its answers.
        if not mine or self.flow.write_paused:
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._held = cycle
        else:
            self._gather(cycle)

    def _let_go(self) -> None:
        if self._held is not None:
            cycle, self._held = self._held, None
            super()._start_asgi_task(cycle, self.app)

    def _gather(self, cycle: RequestResponseCycle) -> None:
        self._held = None
        state = self.app.state
        request = _request(cycle, state.access, state.services)
        if request is None:
            self.go_the_usual_way(cycle)
        else:
            gathering: Gathering = state.gathering
            gathering.add(Waiting(self, cycle, request))

    def go_the_usual_way(self, cycle: RequestResponseCycle) -> None:
        """Have the framework answer; its body is still there."""
        super()._start_asgi_task(cycle, self.app)

    def finish(self, cycle: RequestResponseCycle, content: bytes) -> None:
        """Send an answer with status 200, as `cycle.send` would in two writes."""
        pieces = [_HEAD % len(content)]
        pieces += [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        if not cycle.keep_alive:
            pieces.append(b"connection: close\r\n")
        pieces += (b"\r\n", content)
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join(pieces))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


class Waiting:
    """A client that waits for a decision (`gathering.Asked`)."""

    __slots__ = ("_cycle", "_protocol", "request")

    def __init__(
        self, protocol: RouteProtocol, cycle: RequestResponseCycle, request: RouteRequest
    ) -> None:
        self._protocol, self._cycle, self.request = protocol, cycle, request

    @property
    def wanted(self) -> bool:
        """Whether the client is still there."""
        return not self._cycle.disconnected

    def answer(self, content: bytes) -> None:
        """Send it the decision."""
        self._protocol.finish(self._cycle, content)

    def decline(self) -> None:
        """Have the framework say what is wrong."""
        self._protocol.go_the_usual_way(self._cycle)


def _request(cycle: RequestResponseCycle, keys: Keys, services: Services) -> RouteRequest | None:
    """The request in its caller's own name; None where the usual way has to see to it."""
    try:
        authorization = authorization_of(cycle.scope["headers"])
        keys.check_caller(authorization)
        request: RouteRequest = decode_body(bytes(cycle.body), RouteRequest)
        request = Caller(keys.tenant_of(authorization)).own(request)
    except Exception:
        # Whatever it is, it comes up again there, and is told.
        return None
    return None if hold_the_loop([request], services) else request
