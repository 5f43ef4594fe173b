"""Who may call: callers' keys where they are configured, the admin key for changing policies."""

import hmac
from collections.abc import Mapping

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from policies.errors import SettingsError
from router.errors import AdminKeyRequiredError, KeyRequiredError
from router.settings import AuthSettings


class Keys:
    """The keys the environment holds; `callers` empty means anyone may call."""

    def __init__(self, settings: AuthSettings, environ: Mapping[str, str]) -> None:
        """Read the keys.

        Raises:
            SettingsError: callers' keys are configured, but the variable is unset or empty.
        """
        self._admin_variable = settings.admin_key_env
        self._admin = environ.get(settings.admin_key_env, "").strip()
        self._callers: tuple[str, ...] = ()
        if settings.api_keys_env is not None:
            held = environ.get(settings.api_keys_env, "")
            self._callers = tuple(key.strip() for key in held.split(",") if key.strip())
            if not self._callers:
                raise SettingsError(
                    f"auth.api_keys_env names {settings.api_keys_env}, which is unset or empty: "
                    "put the callers' keys there, separated by commas",
                    field="auth.api_keys_env",
                )

    def check_caller(self, authorization: str | None) -> None:
        """Raise KeyRequiredError unless the bearer token is a caller's or the admin's."""
        if not self._callers:
            return
        known = (*self._callers, self._admin) if self._admin else self._callers
        if not _matches_any(_bearer(authorization), known):
            raise KeyRequiredError("send a known key as `Authorization: Bearer KEY`")

    def check_admin(self, authorization: str | None) -> None:
        """Raise AdminKeyRequiredError unless the bearer token is the admin key."""
        if not self._admin:
            raise AdminKeyRequiredError(
                f"no admin key is set: start the service with one in {self._admin_variable}"
            )
        if not _matches_any(_bearer(authorization), (self._admin,)):
            raise AdminKeyRequiredError("send the admin key as `Authorization: Bearer KEY`")


def caller_guard(connection: ASGIConnection, _: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """For endpoints that any caller with a key may use."""
    connection.app.state.access.check_caller(connection.headers.get("authorization"))


def admin_guard(connection: ASGIConnection, _: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """For endpoints that change what serves."""
    connection.app.state.access.check_admin(connection.headers.get("authorization"))


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _matches_any(token: str, keys: tuple[str, ...]) -> bool:
    # Every key is compared, in constant time, so that timing tells nothing.
    matches = [hmac.compare_digest(token.encode(), key.encode()) for key in keys]
    return bool(token) and any(matches)
