"""Keys and passwords are replaced one replica after the other, and no request fails meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from tests.service_process import ServiceProcess
from tests.stores import StoreServer, wait_until

CONFIG = """
[redis]
url = "{url}"
password_env = "STORE_PASSWORD"
[auth]
api_keys_env = "CALLER_KEYS"
"""


@pytest.fixture
def store(valkey_server: StoreServer) -> StoreServer:
    """A store with a password."""
    with valkey_server.client() as client:
        client.config_set("requirepass", "old-password")
    return valkey_server


@pytest.fixture
def replicas(tmp_path: Path, store: StoreServer) -> Iterator[list[ServiceProcess]]:
    environ = keys("old", password="old-password")
    config = CONFIG.format(url=store.url)
    services = [
        ServiceProcess(tmp_path / f"data{n}", config=config, environ=environ).start()
        for n in range(2)
    ]
    yield services
    for service in services:
        service.__exit__(None, None, None)


def keys(*names: str, password: str) -> dict[str, str]:
    """The environment with these generations of keys, and a password of the store."""
    return {
        "CALLER_KEYS": ",".join(f"caller-{name}" for name in names),
        "RAG_ROUTER_ADMIN_KEY": ", ".join(f"admin-{name}" for name in names),
        "STORE_PASSWORD": password,
    }


def restarted(service: ServiceProcess, environ: dict[str, str]) -> None:
    """The replica with another environment, as a rolling restart brings it."""
    service.stop()
    service._environ = environ
    service.start()


def works(service: ServiceProcess, name: str) -> None:
    """Whether the replica decides, logs to the store and takes the admin's orders by such keys."""
    caller = {"Authorization": f"Bearer caller-{name}"}
    admin = {"Authorization": f"Bearer admin-{name}"}
    route = service.client.post("/v1/route", json={"query": "Who?"}, headers=caller)
    assert route.status_code == 200, route.text
    decision = route.json()["decision_id"]
    report = {"decision_id": decision, "metric": "quality", "value": 1.0}
    assert service.client.post("/v1/feedback", json=report, headers=caller).status_code == 202

    def logged() -> httpx.Response:
        return service.client.get(f"/v1/decisions/{decision}", headers=caller)

    wait_until(lambda: logged().status_code == 200 and logged().json()["feedback"])
    nothing = service.client.post("/v1/policies/rollback", headers=admin)
    assert nothing.status_code == 409, nothing.text  # nothing to roll back to: the key is fine


@pytest.mark.slow
def test_callers_admin_and_store_passwords_are_replaced_in_turns(
    replicas: list[ServiceProcess], store: StoreServer
) -> None:
    """Add the new ones everywhere, let callers change over, take the old ones away."""
    for service in replicas:
        works(service, "old")
    # Both passwords are good at once; connections that are open stay so.
    with redis.Redis(unix_socket_path=str(store.socket), password="old-password") as client:
        client.execute_command("ACL", "SETUSER", "default", ">new-password")
        for service in replicas:
            works(service, "old")
            restarted(service, keys("old", "new", password="new-password"))
            for other in replicas:
                works(other, "old")
            works(service, "new")
        client.execute_command("ACL", "SETUSER", "default", "<old-password")
    for service in replicas:
        works(service, "old")
        restarted(service, keys("new", password="new-password"))
        works(service, "new")
        refused = service.client.post(
            "/v1/route", json={"query": "Who?"}, headers={"Authorization": "Bearer caller-old"}
        )
        assert refused.status_code == 401
        refused = service.client.post(
            "/v1/policies/rollback", headers={"Authorization": "Bearer admin-old"}
        )
        assert refused.status_code == 403
