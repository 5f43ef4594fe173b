"""The service's configuration: one TOML file, decoded strictly.

docs/configuration.md documents every key, and a test holds it to that. Secrets never stand in the
file: a key names the environment variable that holds one.
"""

import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from policies.arms import did_you_mean
from policies.events import TextPolicy
from policies.settings import PolicySettings
from policies.shards import MAX_SHARDS
from policies.store_keys import DEFAULT_PREFIX
from policies.store_url import parse_store_url
from policies.strict_toml import decode_strictly, read_toml

# What the service itself puts into a model's request.
RESERVED_PARAMETERS = frozenset({"messages", "model", "stream", "stream_options"})
MAX_SECONDS = 3600.0
# Metrics of the service's own of which less is better.
COSTS = frozenset({"cost_usd", "latency_s", "retrieval_rate"})


class PriceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars for a thousand tokens."""

    input: float = 0.0
    output: float = 0.0

    def __post_init__(self) -> None:
        for name in ("input", "output"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a price of 0 or more, not {getattr(self, name)}")


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[models.NAME]` table: an OpenAI-compatible server and a model on it.

    `system_prompt` is the persona the model was tuned with. `parameters` are generation parameters
    that a request may override. Timeouts are in seconds: to connect, to the first token, between
    two pieces of a stream, and for the whole answer.
    """

    base_url: str
    model: str
    price_per_1k: PriceSettings | None = None
    api_key_env: str | None = None
    system_prompt: str | None = None
    parameters: dict[str, Any] = {}
    connect_timeout_s: float = 2.0
    first_token_timeout_s: float = 15.0
    stall_timeout_s: float = 10.0
    total_timeout_s: float = 45.0
    retries: int = 1
    max_connections: int = 100

    def __post_init__(self) -> None:
        _require_http_url(self.base_url, "base_url")
        for name in (
            "connect_timeout_s",
            "first_token_timeout_s",
            "stall_timeout_s",
            "total_timeout_s",
        ):
            _require_seconds(getattr(self, name), name)
        if not 0 <= self.retries <= 5:
            raise ValueError(f"retries must lie in 0..5, not at {self.retries}")
        if self.max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, not {self.max_connections}")
        for name in RESERVED_PARAMETERS & set(self.parameters):
            raise ValueError(f"parameters.{name} is the service's own to set")


class RetrieverSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[retrievers.NAME]` table: where documents are looked up.

    `path` is a directory or an object storage URL (lancedb) or a local directory (qdrant); `url` a
    server's address. `encoder` is what the passages' vectors were made with.
    """

    kind: Literal["lancedb", "qdrant", "http"]
    path: str | None = None
    url: str | None = None
    collection: str = "passages"
    encoder: str = "static"
    api_key_env: str | None = None
    timeout_s: float = 2.0

    def __post_init__(self) -> None:
        if self.kind == "lancedb" and (not self.path or self.url):
            raise ValueError("a lancedb retriever needs path, and takes no url")
        if self.kind == "http" and (not self.url or self.path):
            raise ValueError("an http retriever needs url, and takes no path")
        if self.kind == "qdrant" and bool(self.url) == bool(self.path):
            raise ValueError("a qdrant retriever needs either url (a server) or path (local)")
        if self.url is not None:
            _require_http_url(self.url, "url")
        if not re.fullmatch(r"[\w.-]{1,64}", self.collection):
            raise ValueError("collection has 1 to 64 letters, digits and any of _.-")
        _require_seconds(self.timeout_s, "timeout_s")


class AnswerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How answers are made.

    `deadline_s` bounds a whole answer, fallbacks included. `templates` is a directory whose files
    replace the built-in prompt templates of the same name. `interrupted` says what becomes of a
    stream whose model fails after its first words: another arm continues it, or it ends with an
    error.
    """

    deadline_s: float = 60.0
    templates: str | None = None
    interrupted: Literal["continue", "fail"] = "continue"

    def __post_init__(self) -> None:
        _require_seconds(self.deadline_s, "deadline_s")


class BreakerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a failing model or retriever is left alone: after how many failures, for how long."""

    failures: int = 5
    open_s: float = 15.0

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ValueError(f"failures must be at least 1, not {self.failures}")
        _require_seconds(self.open_s, "open_s")


def _require_http_url(url: str, name: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{name} must be an http:// or https:// address, not {url!r}")
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{name} has a wrong port: {error}") from error
    if parts.username or parts.password:
        raise ValueError(f"{name} holds a secret: name its environment variable in api_key_env")


def _require_seconds(value: float, name: str) -> None:
    if not 0.0 < value <= MAX_SECONDS:
        raise ValueError(f"{name} must lie above 0 and up to {MAX_SECONDS:g} seconds, not {value}")


class RedisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where events and policies are kept; without `url` the service brings its own store.

    `shards` is over how many slots of a Redis Cluster the log is spread, `wait_replicas` how many
    replicas must have a write before it counts as stored, `trace_hours` how long after its last
    event a decision can be looked up and a retried event is recognised.
    """

    url: str | None = None
    password_env: str | None = None
    sentinel_password_env: str | None = None
    prefix: str = DEFAULT_PREFIX
    shards: int = 1
    wait_replicas: int = 0
    trace_hours: float = 168.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.:-]{1,64}", self.prefix):
            raise ValueError("redis.prefix has 1 to 64 letters, digits and any of _.:-")
        if not 1 <= self.shards <= MAX_SHARDS:
            raise ValueError(f"redis.shards must lie in 1..{MAX_SHARDS}, not at {self.shards}")
        if not 0 <= self.wait_replicas <= 10:
            raise ValueError(f"redis.wait_replicas must lie in 0..10, not at {self.wait_replicas}")
        if not 0.01 <= self.trace_hours <= 8760.0:
            raise ValueError(f"redis.trace_hours must lie in 0.01..8760, not at {self.trace_hours}")
        if self.url is None:
            if self.wait_replicas:
                raise ValueError("redis.wait_replicas needs redis.url: the embedded store has none")
            return
        try:
            address = parse_store_url(self.url)
        except ValueError as error:
            raise ValueError(f"redis.url {error}") from error
        if "?" in self.url:
            raise ValueError("redis.url takes no ?options: secrets belong in the environment")
        if address.password:
            raise ValueError(
                "redis.url holds a password: put it into an environment variable and name that in "
                "redis.password_env"
            )


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a query's text is logged, which of its attributes, and how many events may wait.

    `batch_delay_ms` is how long a decision waits for others to share its batch.
    """

    text: TextPolicy = "full"
    attributes: list[str] = []
    queue_size: int = 10_000
    batch_delay_ms: float = 5.0

    def __post_init__(self) -> None:
        if self.queue_size < 1:
            raise ValueError(f"queue_size must be at least 1, not {self.queue_size}")
        if not 0.0 <= self.batch_delay_ms <= 1_000.0:
            raise ValueError(f"batch_delay_ms must lie in 0..1000, not at {self.batch_delay_ms}")


class EncodingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many decisions that a slow encoder takes long over are made at once, and may wait."""

    threads: int = 1
    queue_size: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            raise ValueError(f"threads must lie in 1..64, not at {self.threads}")
        if not 0 <= self.queue_size <= 100_000:
            raise ValueError(f"queue_size must lie in 0..100000, not at {self.queue_size}")


class DriftSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How rarely a drift test of the service may raise a false alarm, over all of its stream."""

    false_alarm_rate: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 <= self.false_alarm_rate < 1.0:
            raise ValueError(
                f"false_alarm_rate must lie from 0 to below 1, not at {self.false_alarm_rate}"
            )


class GuardrailSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric that a candidate mustn't worsen, such as a cost: less of it is better.

    `limit` is the value beyond which more makes no difference to the watch; `tolerance` how much
    worse the candidate may be on average, in the metric's unit.
    """

    limit: float
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.limit < float("inf"):
            raise ValueError(f"limit must be positive and finite, not {self.limit}")
        if not 0.0 <= self.tolerance < float("inf"):
            raise ValueError(f"tolerance must be 0 or more, not {self.tolerance}")


class RolloutSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a candidate in shadow or canary is watched.

    `metric` lies in 0..1, more being better. `alpha` bounds the chance that a candidate within
    `tolerance` of the incumbent is ever rolled back. Nothing is done before `min_rounds` reported
    rounds; a candidate is ready for full after `course_rounds`.
    """

    metric: str = "quality"
    alpha: float = 0.05
    tolerance: float = 0.01
    min_rounds: int = 100
    course_rounds: int = 2_000
    auto_rollback: bool = True
    auto_promote: bool = False
    guardrails: dict[str, GuardrailSettings] = {}

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < 1.0:
            raise ValueError(f"alpha must lie between 0 and 1, not at {self.alpha}")
        if not 0.0 <= self.tolerance < 1.0:
            raise ValueError(f"tolerance must lie in 0..1, not at {self.tolerance}")
        for name in ("min_rounds", "course_rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.metric in self.guardrails:
            raise ValueError(f"guardrails.{self.metric} is the rollout's metric already")
        if self.metric in COSTS:
            raise ValueError(
                f"metric {self.metric!r} is a cost, and more of a rollout's metric is better: make "
                f"it a guardrail, guardrails.{self.metric} = {{ limit = … }}"
            )


class AuditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The share of decisions, chosen at random, whose outcome the caller is asked to report."""

    share: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"share must lie between 0 and 1, not at {self.share}")


class AuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Environment variables that hold the callers' keys (comma-separated) and the admin key.

    `tenant_keys_env` gives, by tenant, the variable with the keys of callers who are that tenant.
    """

    api_keys_env: str | None = None
    tenant_keys_env: dict[str, str] = {}
    admin_key_env: str = "RAG_ROUTER_ADMIN_KEY"


class Settings(PolicySettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of `router.toml`."""

    models: dict[str, ModelSettings] = {}
    retrievers: dict[str, RetrieverSettings] = {}
    answers: AnswerSettings = AnswerSettings()
    breakers: BreakerSettings = BreakerSettings()
    redis: RedisSettings = RedisSettings()
    log: LogSettings = LogSettings()
    encoding: EncodingSettings = EncodingSettings()
    drift: DriftSettings = DriftSettings()
    audit: AuditSettings = AuditSettings()
    auth: AuthSettings = AuthSettings()
    rollout: RolloutSettings = RolloutSettings()

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
