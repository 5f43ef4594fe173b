"""What the OpenAPI document says of errors: problem documents, by status."""

from collections.abc import Mapping

from litestar.openapi.datastructures import ResponseSpec

from router.problems import MEDIA_TYPE, Problem

_MEANINGS: Mapping[int, str] = {
    400: "The request is wrong; `field` says where.",
    401: "A known key is needed.",
    403: "The key at hand isn't the one for this.",
    404: "There is no such thing.",
    408: "The body didn't arrive in time.",
    409: "That doesn't fit what serves here.",
    413: "The body is larger than 1 MiB.",
    422: "The content can't be used.",
    501: "No arm has a model to answer with.",
    503: "Not at the moment; try again after `Retry-After` seconds.",
}


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The problems with these statuses, for a handler's `responses`."""
    return {
        status: ResponseSpec(
            data_container=Problem,
            description=_MEANINGS[status],
            media_type=MEDIA_TYPE,
            generate_examples=False,
        )
        for status in statuses
    }
