"""Request bodies read within bounds, and decoded straight into the endpoint's struct: strictly."""

import asyncio
from functools import lru_cache
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ClientException, InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import Empty, Receive, Scope

from router.errors import BadRequestError, SlowBodyError
from router.problems import field_of

BODY_TIMEOUT_S = 5.0
MAX_BODY_BYTES = 1_048_576


class StrictRequest(Request[Any, Any, Any]):
    """Litestar decodes JSON leniently ("1" for 1) and forgets where it failed; this doesn't.

    The decoded struct passes through the framework's own conversion untouched, and stays the
    endpoint's `data` parameter, from which the OpenAPI schema is made.
    """

    async def body(self) -> bytes:
        """The body; raises as `read_body`."""
        if self._body is Empty:
            self._body = await read_body(self.scope, self.receive)
        return self._body

    async def json(self) -> Any:
        """The body as the type of the handler's `data` parameter; raises as `decode_body`."""
        field = self.route_handler.parsed_data_field
        return decode_body(await self.body(), field.annotation if field else Any)


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The body, which must arrive in time: a client that trickles it would hold us for ever.

    Raises:
        SlowBodyError: it didn't.
        RequestEntityTooLarge: it is larger than MAX_BODY_BYTES, or says that it will be.
        ClientException: it says no number of bytes.
        InternalServerException: the client hung up; nobody is left to see it.
    """
    _check_announced_length(scope)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _received(receive)
    except TimeoutError as error:
        raise SlowBodyError(f"the body didn't arrive within {BODY_TIMEOUT_S:g} s") from error


def decode_body(body: bytes, annotation: Any) -> Any:
    """The body as that type.

    Raises:
        BadRequestError: it isn't JSON, or not of that type; the field says where.
    """
    if not body:
        raise BadRequestError("the request has no body: send JSON")
    try:
        return _decoder(annotation).decode(body)
    except msgspec.DecodeError as error:
        message = str(error)
        raise BadRequestError(message, field=field_of(message)) from error
    except UnicodeDecodeError as error:
        raise BadRequestError(f"the body isn't UTF-8: {error}") from error
    except RecursionError as error:
        raise BadRequestError("the body is nested too deeply") from error


def _check_announced_length(scope: Scope) -> None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            try:
                announced = int(value)
            except ValueError:
                said = value.decode("latin-1")
                raise ClientException(f"Invalid content-length: {said!r}") from None
            if announced > MAX_BODY_BYTES:
                raise RequestEntityTooLarge


async def _received(receive: Receive) -> bytes:
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise InternalServerException("client disconnected prematurely")
        piece = message.get("body", b"")
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise RequestEntityTooLarge
        if not message.get("more_body", False):
            return b"".join(pieces)


@lru_cache(maxsize=64)
def _decoder(annotation: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(annotation)
