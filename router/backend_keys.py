"""The keys of model servers and retrievers, from the environment variables that settings name."""

from collections.abc import Mapping

from policies.errors import SettingsError


def read_key(variable: str | None, environ: Mapping[str, str], *, field: str) -> str | None:
    """The key that the variable holds; None where no variable is named.

    Args:
        variable: what `api_key_env` says.
        environ: the environment.
        field: the full name of the setting, for messages.

    Raises:
        SettingsError: the variable holds nothing, or what no HTTP header can carry.
    """
    if variable is None:
        return None
    key = environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        fault = "holds characters that no HTTP header can carry" if key else "is unset or empty"
        raise SettingsError(f"{field} names {variable}, which {fault}", field=field)
    return key
