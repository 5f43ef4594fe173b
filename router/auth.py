"""Who may call: callers' keys where they are configured, admin keys for changing policies.

A caller's key may name any tenant, since it is a service's that answers for its users. A tenant's
key is that tenant's alone.
"""

import hmac
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from policies.errors import SettingsError
from router.api.schemas import RouteRequest
from router.errors import AdminKeyRequiredError, KeyRequiredError, OtherTenantError
from router.settings import AuthSettings

Asked = TypeVar("Asked", bound=RouteRequest)


class Keys:
    """The keys the environment holds; `callers` empty means anyone may call."""

    def __init__(self, settings: AuthSettings, environ: Mapping[str, str]) -> None:
        """Read the keys.

        Raises:
            SettingsError: callers' keys are configured, but the variable is unset or empty.
        """
        self._admin_variable = settings.admin_key_env
        self._admins = _listed(environ, settings.admin_key_env)
        self._callers: tuple[str, ...] = ()
        if settings.api_keys_env is not None:
            self._callers = _held(environ, settings.api_keys_env, "auth.api_keys_env")
        self._tenants = {
            tenant: _held(environ, variable, f"auth.tenant_keys_env.{tenant}")
            for tenant, variable in settings.tenant_keys_env.items()
        }
        _require_distinct(self._tenants, {*self._admins, *self._callers})

    def tenant_of(self, authorization: str | None) -> str | None:
        """The tenant whose key the bearer token is; None for any other token, or none."""
        token = _bearer(authorization)
        mine = [tenant for tenant, keys in self._tenants.items() if _matches_any(token, keys)]
        return mine[0] if mine else None

    def check_caller(self, authorization: str | None) -> None:
        """Raise KeyRequiredError unless the bearer token is a caller's, tenant's or admin key."""
        known = (*self._callers, *(key for keys in self._tenants.values() for key in keys))
        if not known:
            return
        if not _matches_any(_bearer(authorization), (*known, *self._admins)):
            raise KeyRequiredError("send a known key as `Authorization: Bearer KEY`")

    def check_admin(self, authorization: str | None) -> None:
        """Raise AdminKeyRequiredError unless the bearer token is an admin key."""
        if not self._admins:
            raise AdminKeyRequiredError(
                f"no admin key is set: start the service with one in {self._admin_variable}"
            )
        if not _matches_any(_bearer(authorization), self._admins):
            raise AdminKeyRequiredError("send the admin key as `Authorization: Bearer KEY`")


class Caller(NamedTuple):
    """Who calls: the tenant whose key it is, or None for one who may call for any tenant."""

    tenant: str | None

    def own(self, request: Asked, *, field: str = "tenant") -> Asked:
        """The request in the caller's own name.

        Raises:
            OtherTenantError: it names another tenant; `field` says where.
        """
        if self.tenant is None or request.tenant == self.tenant:
            return request
        if request.tenant:
            raise OtherTenantError(
                "this key is of another tenant: leave `tenant` out, or send that tenant's key",
                field=field,
            )
        return msgspec.structs.replace(request, tenant=self.tenant)

    def may_see(self, tenant: str | None) -> bool:
        """Whether what belongs to a tenant is the caller's to see; None: nobody knows whose."""
        return self.tenant is None or tenant == self.tenant


def caller_of(request: Request[Any, Any, Any]) -> Caller:
    """Who sends a request, by its key."""
    keys: Keys = request.app.state.access
    return Caller(keys.tenant_of(request.headers.get("authorization")))


def authorization_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """What a request's raw headers, with names in lower case, say of who sends it."""
    for name, value in headers:
        if name == b"authorization":
            return value.decode("latin-1")
    return None


async def caller_guard(connection: ASGIConnection, _: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """For endpoints that any caller with a key may use."""
    connection.app.state.access.check_caller(connection.headers.get("authorization"))


async def admin_guard(connection: ASGIConnection, _: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """For endpoints that change what serves."""
    connection.app.state.access.check_admin(connection.headers.get("authorization"))


def _held(environ: Mapping[str, str], variable: str, field: str) -> tuple[str, ...]:
    """The keys in an environment variable, of which there must be one."""
    keys = _listed(environ, variable)
    if not keys:
        raise SettingsError(
            f"{field} names {variable}, which is unset or empty: put the callers' keys there, "
            "separated by commas",
            field=field,
        )
    return keys


def _listed(environ: Mapping[str, str], variable: str) -> tuple[str, ...]:
    """The keys in an environment variable, separated by commas: two while one is replaced."""
    return tuple(key.strip() for key in environ.get(variable, "").split(",") if key.strip())


def _require_distinct(tenants: Mapping[str, tuple[str, ...]], others: set[str]) -> None:
    taken = set(others)
    for tenant, keys in tenants.items():
        if taken & set(keys):
            field = f"auth.tenant_keys_env.{tenant}"
            raise SettingsError(
                f"{field} has a key that isn't this tenant's alone: give it one of its own",
                field=field,
            )
        taken |= set(keys)


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _matches_any(token: str, keys: tuple[str, ...]) -> bool:
    # Every key is compared, in constant time, so that timing tells nothing.
    matches = [hmac.compare_digest(token.encode(), key.encode()) for key in keys]
    return bool(token) and any(matches)
