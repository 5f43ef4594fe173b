"""The short path of the deciding endpoints: past the framework's work for each request.

Litestar takes 0.2 ms for a request (a thread for the guard, tasks for the dependencies, a model of
the parameters, two response objects), which is more than a decision takes. So these endpoints are
declared as all others are, and their declaration is what /schema tells; but a middleware in front
of them does with the same function what the framework would: checks the key, reads and decodes the
body strictly, calls, and encodes what comes back. What it raises becomes a problem document where
every endpoint's errors do.
"""

import msgspec
from litestar.types import (
    ASGIApp,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    Receive,
    Scope,
    Send,
)

from router.api.strict_request import decode_body, read_body
from router.auth import Caller, Keys, authorization_of
from router.services import Services

_encoder = msgspec.json.Encoder()


class ShortPath:
    """For handlers that take `data`, `caller` and `services`, and give a struct with status 200."""

    def __init__(self, app: ASGIApp) -> None:
        """Be called in the place of `app`, which would be the framework's own way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            PolicyError, HTTPException: as the endpoint would, for the framework's error handlers.
        """
        state = scope["litestar_app"].state
        keys: Keys = state.access
        services: Services = state.services
        handler = scope["route_handler"]
        taken = handler.parsed_data_field
        assert taken is not None, f"{handler} takes no `data`"
        authorization = authorization_of(scope["headers"])
        keys.check_caller(authorization)
        data = decode_body(await read_body(scope, receive), taken.annotation)
        caller = Caller(keys.tenant_of(authorization))
        given = await handler.fn(data=data, caller=caller, services=services)
        await _send_json(send, _encoder.encode(given))


async def _send_json(send: Send, content: bytes) -> None:
    start: HTTPResponseStartEvent = {
        "type": "http.response.start",
        "status": 200,
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
        ],
    }
    body: HTTPResponseBodyEvent = {
        "type": "http.response.body",
        "body": content,
        "more_body": False,
    }
    await send(start)
    await send(body)
