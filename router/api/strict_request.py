"""Request bodies decoded straight into the endpoint's struct: strictly, and once."""

import asyncio
from functools import lru_cache
from typing import Any

import msgspec
from litestar import Request

from router.errors import BadRequestError, SlowBodyError
from router.problems import field_of

BODY_TIMEOUT_S = 5.0


class StrictRequest(Request[Any, Any, Any]):
    """Litestar decodes JSON leniently ("1" for 1) and forgets where it failed; this doesn't.

    The decoded struct passes through the framework's own conversion untouched, and stays the
    endpoint's `data` parameter, from which the OpenAPI schema is made.
    """

    async def body(self) -> bytes:
        """The body, which must arrive in time: a client that trickles it would hold us for ever.

        Raises:
            SlowBodyError: it didn't.
        """
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return await super().body()
        except TimeoutError as error:
            raise SlowBodyError(f"the body didn't arrive within {BODY_TIMEOUT_S:g} s") from error

    async def json(self) -> Any:
        """The body as the type of the handler's `data` parameter.

        Raises:
            BadRequestError: it isn't JSON, or not of that type; the field says where.
        """
        field = self.route_handler.parsed_data_field
        body = await self.body()
        decoder = _decoder(field.annotation if field else Any)
        try:
            return decoder.decode(body)
        except msgspec.DecodeError as error:
            message = str(error)
            raise BadRequestError(message, field=field_of(message)) from error
        except UnicodeDecodeError as error:
            raise BadRequestError(f"the body isn't UTF-8: {error}") from error
        except RecursionError as error:
            raise BadRequestError("the body is nested too deeply") from error


@lru_cache(maxsize=64)
def _decoder(annotation: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(annotation)
