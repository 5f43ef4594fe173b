"""The chart's values: each documented, and a wrong one refused by its name."""

import json
import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.deploy.chart_schema import SCHEMA, with_configuration
from tests.deploy.kubernetes_tools import CHART, RELEASE, documents, helm, named


def paths(values: dict[str, Any], above: str = "") -> list[str]:
    """Every value's name, as `--set` takes it; an empty table and a list are one value."""
    found: list[str] = []
    for name, held in values.items():
        path = f"{above}{name}"
        found += paths(held, f"{path}.") if isinstance(held, dict) and held else [path]
    return found


def test_every_value_is_documented() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    # Documented as a whole.
    whole = re.compile(r"\.(resources|labels)\..*|(?<=\.)(monitoringFrom|dnsTo)\..*")
    wanted = {whole.sub(lambda found: f".{found.group(1) or ''}", path) for path in paths(values)}
    wanted = {re.sub(r"^resources\..*", "resources", path) for path in wanted}
    documented = set(re.findall(r"`([\w.]+)`", (CHART / "README.md").read_text(encoding="utf-8")))
    assert wanted <= documented, sorted(wanted - documented)


def test_the_schema_knows_the_services_configuration() -> None:
    """Else: python -m tests.deploy.chart_schema"""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert schema == with_configuration(schema)


def test_the_schema_lets_no_unknown_value_through() -> None:
    def tables(schema: dict[str, Any]) -> list[dict[str, Any]]:
        inner = [one for part in schema.get("properties", {}).values() for one in tables(part)]
        return [schema, *inner] if "properties" in schema else inner

    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    own = [one for name, one in schema["$defs"].items() if name.startswith("chart.")]
    for table in (one for part in (schema, *own) for one in tables(part)):
        assert table["additionalProperties"] is False


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("replicaCount=many", "'/replicaCount': got string, want integer"),
        ("replicaCuont=3", "additional properties 'replicaCuont' not allowed"),
        ("config.log.queue_sise=3", "'/config/log': additional properties 'queue_sise'"),
        ("config.arms.a.route=both", "'/config/arms/a/route': value must be one of"),
        ("autoscaling.metric=rps", "'/autoscaling/metric': value must be one of"),
        ("export.schedule=hourly", "'/export/schedule': 'hourly' does not match pattern"),
        ("networkPolicy.from[0].cidr=10.0.0.0/8", "'/networkPolicy/from/0': additional"),
        ("logs.url=gs://bucket/logs", "'/logs/url': 'gs://bucket/logs' does not match"),
        ("logs.url=s3://key:secret@bucket/logs", "'/logs/url': 's3://"),
        ("config.redis.url=redis://a:1/0", "config.redis.url is written by the chart: set"),
        ("config.auth.api_keys_env=KEYS", "config.auth.api_keys_env is written by the chart"),
        ("config.models.a.base_url=http://u:p@h", "config.models.a.base_url holds a secret"),
        ("redis.enabled=false", "redis.url is needed where redis.enabled is false"),
        ("redis.url=redis://a:1/0", "set redis.enabled to false as well"),
        ("extraEnv.MODEL_KEY=x", "extraEnv.MODEL_KEY is named like a secret"),
        ("ingress.enabled=true", "networkPolicy.from must let the ingress controller"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(given: str, message: str) -> None:
    # What a wrong value makes wrong besides (a model needs its name) isn't the matter here.
    besides = "config.models.a.model=m," if "models.a" in given else ""
    found = helm("template", RELEASE, str(CHART), "--set", besides + given)
    assert found.returncode != 0
    assert message in found.stderr


OWN_STORE = "redis.enabled=false,redis.url="
MODEL = "config.models.m.model=m,config.models.m.base_url="
RETRIEVER = "config.retrievers.r.kind=http,config.retrievers.r."


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        (f"{OWN_STORE}redis://u:geheim@h:1/0", "redis.existingSecret"),
        (f"{OWN_STORE}redis://:ge/geheim@h:1/0", "redis.existingSecret"),
        (f"{OWN_STORE}redis://h/0?password=geheim", "redis.existingSecret"),
        (f"{OWN_STORE}redis+sentinel://w:1/main/0?sentinel_password=geheim", "existingSecret"),
        (f"{MODEL}https://u:geheim@m/v1", "config.models.m.base_url holds a secret"),
        (f"{MODEL}https://u:ge/geheim@m/v1", "api_key_env"),
        (f"{MODEL}https://m/v1?api_key=geheim", "api_key_env"),
        (f"{MODEL}https://m/v1?version=2&Access-Token=geheim", "api_key_env"),
        (f"{RETRIEVER}url=http://r/search?sig=geheim", "config.retrievers.r.url holds a secret"),
        (f"{RETRIEVER}path=s3://key:geheim@bucket/index", "config.retrievers.r.path holds"),
    ],
)
def test_a_secret_in_an_address_is_refused_and_said_nowhere(given: str, cure: str) -> None:
    """Neither a ConfigMap nor a job's arguments, nor what is said of it, may hold one."""
    found = helm("template", RELEASE, str(CHART), "--set", given)
    assert found.returncode != 0
    assert cure in found.stderr
    assert "geheim" not in found.stdout + found.stderr


def test_an_address_without_a_secret_is_taken() -> None:
    address = "https://m/v1?api-version=2026-01-01"
    found = documents("default", f"--set={MODEL}{address},{OWN_STORE}rediss://h:6380/0")
    text = named(found, "ConfigMap")["data"]["router.toml"]
    assert address in text
    assert "rediss://h:6380/0" in text


def test_the_bundled_store_keeps_its_index_for_hours_unless_told_otherwise() -> None:
    """A week of it would fill the bundled store; one of your own has the service's default."""

    def redis_table(*options: str) -> dict[str, Any]:
        text = named(documents("default", *options), "ConfigMap")["data"]["router.toml"]
        table: dict[str, Any] = tomllib.loads(text)["redis"]
        return table

    assert redis_table()["trace_hours"] == 8
    assert redis_table("--set=config.redis.trace_hours=48")["trace_hours"] == 48
    assert "trace_hours" not in redis_table(f"--set={OWN_STORE}redis://h:1/0")
