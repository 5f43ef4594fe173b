"""Every error as an RFC 9457 problem document."""

import logging
import re
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from policies.errors import PolicyError
from router.answers.errors import NoAnswerError
from router.errors import EncoderBusyError, KeyRequiredError, RouterError
from router.log.errors import StoreUnavailableError
from router.models.errors import ModelError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:adaptive-rag-router:problem:"
STORE_RETRY_AFTER_S = 2

# Clients of OpenAI's API look for `error` in the body.
_OPENAI_PATHS = ("/v1/chat/", "/v1/models")

_LOGGER = logging.getLogger(__name__)
# msgspec says where it stopped as "... - at `$.requests[0].query`", and names unknown fields.
_PATH = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`")
_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]+)`")
_MISSING_BODY = "required field `data`"  # the framework's name for the body
_MISSING_FIELD = re.compile(r"required field `([^`]+)`")


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457's members, plus the field at fault."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    error: dict[str, Any] | None = None


def openai_error(status: int, kind: str, message: str, field: str | None) -> dict[str, Any]:
    """The error as OpenAI's clients read it."""
    group = "invalid_request_error" if status < 500 else "server_error"
    return {"message": message, "type": group, "param": field, "code": kind}


def problem_response(
    request: Request[Any, Any, Any],
    status: int,
    kind: str,
    detail: str,
    *,
    field: str | None = None,
    headers: Any = None,
) -> Response[bytes]:
    """A problem document; for OpenAI's endpoints with OpenAI's `error` in it."""
    request.app.state.services.metrics.service.observe_problem(status)
    title = kind.replace("-", " ").capitalize()
    error = None
    if request.url.path.startswith(_OPENAI_PATHS):
        error = openai_error(status, kind, detail, field)
    problem = Problem(TYPE_PREFIX + kind, title, status, detail, field, error)
    return Response(
        msgspec.json.encode(problem), status_code=status, media_type=MEDIA_TYPE, headers=headers
    )


def from_policy_error(request: Request[Any, Any, Any], error: PolicyError) -> Response[bytes]:
    """An error raised on purpose: its own status, kind and field."""
    headers = {}
    if isinstance(error, RouterError) and error.decision_id is not None:
        headers["x-decision-id"] = error.decision_id
    if isinstance(error, KeyRequiredError):
        headers["WWW-Authenticate"] = "Bearer"
    elif isinstance(error, NoAnswerError | EncoderBusyError):
        headers["Retry-After"] = str(error.retry_after_s)
    elif error.status == StoreUnavailableError.status:
        headers["Retry-After"] = str(STORE_RETRY_AFTER_S)
    said = f": {error.said}" if isinstance(error, ModelError) and error.said else ""
    return problem_response(
        request, error.status, error.kind, f"{error}{said}", field=error.field, headers=headers
    )


def from_validation(request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    """A body that doesn't decode to what the endpoint takes: the first field at fault."""
    raw = error.extra if isinstance(error.extra, list) else []
    cause = str(error.__cause__ or "")
    message = cause or "; ".join(str(item.get("message", item)) for item in raw) or error.detail
    if _MISSING_BODY in message:
        return problem_response(request, 400, "bad-request", "the request has no body: send JSON")
    return problem_response(request, 400, "bad-request", message, field=field_of(message))


def field_of(message: str) -> str | None:
    """The field that one of msgspec's messages is about."""
    path = _PATH.search(message)
    parts = [path.group(1)] if path and path.group(1) else []
    named = _UNKNOWN_FIELD.search(message) or _MISSING_FIELD.search(message)
    if named:
        parts.append(named.group(1))
    return ".".join(parts) or None


def from_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """The framework's own errors: unknown path, wrong method, oversized body, malformed JSON."""
    kinds = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}
    return problem_response(
        request,
        error.status_code,
        kinds.get(error.status_code, "http-error"),
        error.detail,
        headers=error.headers,
    )


def from_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A defect of ours: logged with its traceback, told without."""
    _LOGGER.error("unexpected error on %s %s", request.method, request.url.path, exc_info=error)
    return problem_response(
        request, 500, "internal", "an unexpected error; the service's log has more"
    )


EXCEPTION_HANDLERS: Any = {
    PolicyError: from_policy_error,
    ValidationException: from_validation,
    HTTPException: from_http_exception,
    Exception: from_unexpected,
}
