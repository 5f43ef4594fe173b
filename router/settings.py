"""The service's configuration: one TOML file, decoded strictly.

docs/configuration.md documents every key, and a test holds it to that. Secrets never stand in the
file: a key names the environment variable that holds one.
"""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from policies.arms import did_you_mean
from policies.events import TextPolicy
from policies.settings import PolicySettings
from policies.store_keys import DEFAULT_PREFIX
from policies.strict_toml import decode_strictly, read_toml

_REDIS_SCHEMES = ("redis", "rediss", "unix")


class PriceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars for a thousand tokens."""

    input: float = 0.0
    output: float = 0.0

    def __post_init__(self) -> None:
        for name in ("input", "output"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a price of 0 or more, not {getattr(self, name)}")


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[models.NAME]` table: an OpenAI-compatible server and a model on it."""

    base_url: str
    model: str
    price_per_1k: PriceSettings = PriceSettings()
    api_key_env: str | None = None


class RetrieverSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[retrievers.NAME]` table: where documents are looked up."""

    kind: Literal["lancedb", "qdrant", "http"]
    path: str | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        needed = "path" if self.kind == "lancedb" else "url"
        if not getattr(self, needed):
            raise ValueError(f"a {self.kind} retriever needs {needed}")


class RedisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where events and policies are kept; without `url` the service brings its own store."""

    url: str | None = None
    password_env: str | None = None
    prefix: str = DEFAULT_PREFIX

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.:-]{1,64}", self.prefix):
            raise ValueError("redis.prefix has 1 to 64 letters, digits and any of _.:-")
        if self.url is None:
            return
        parts = urlsplit(self.url)
        if parts.scheme not in _REDIS_SCHEMES:
            raise ValueError(
                f"redis.url must begin with {', '.join(f'{s}://' for s in _REDIS_SCHEMES)}"
            )
        try:
            _ = parts.port
        except ValueError as error:
            raise ValueError(f"redis.url has a wrong port: {error}") from error
        if parts.scheme != "unix" and parts.path not in ("", "/") and not parts.path[1:].isdigit():
            raise ValueError("redis.url may end with a database's number, such as /0")
        if parts.query:
            raise ValueError("redis.url takes no ?options: secrets belong in the environment")
        if parts.password:
            raise ValueError(
                "redis.url holds a password: put it into an environment variable and name that in "
                "redis.password_env"
            )


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a query's text is logged, and how many events may wait in memory."""

    text: TextPolicy = "full"
    queue_size: int = 10_000

    def __post_init__(self) -> None:
        if self.queue_size < 1:
            raise ValueError(f"queue_size must be at least 1, not {self.queue_size}")


class AuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Environment variables that hold the callers' keys (comma-separated) and the admin key."""

    api_keys_env: str | None = None
    admin_key_env: str = "RAG_ROUTER_ADMIN_KEY"


class Settings(PolicySettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of `router.toml`."""

    models: dict[str, ModelSettings] = {}
    retrievers: dict[str, RetrieverSettings] = {}
    redis: RedisSettings = RedisSettings()
    log: LogSettings = LogSettings()
    auth: AuthSettings = AuthSettings()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, arm in self.arms.items():
            for kind, wanted, known in (
                ("model", arm.model, self.models),
                ("retriever", arm.retriever, self.retrievers),
            ):
                if wanted is not None and wanted not in known:
                    raise ValueError(
                        f"arms.{name}.{kind} names {wanted!r}, but there is no "
                        f"[{kind}s.{wanted}]{did_you_mean(wanted, known)}"
                    )


def read_settings(path: Path | None) -> Settings:
    """The settings in a file; the defaults without one.

    Raises:
        SettingsError: naming the key at fault.
    """
    return Settings() if path is None else decode_strictly(read_toml(path), Settings)
