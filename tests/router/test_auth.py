"""Tenants' keys: they call in their tenant's name, and see what is its own."""

from typing import Any

import msgspec
import pytest

from policies.errors import SettingsError
from router.auth import Keys
from router.settings import AuthSettings, Settings
from tests.router.conftest import Service, StartService

QUERY = "What is our confidential zyxquor worth?"
AUTH = {"api_keys_env": "KEYS", "tenant_keys_env": {"acme": "ACME", "globex": "GLOBEX"}}
ENVIRON = {"KEYS": "trusted", "ACME": "a1, a2", "GLOBEX": "g1"}
PATHS: list[tuple[str, str]] = [
    ("/v1/route", "tenant"),
    ("/v1/route/batch", "requests[0].tenant"),
    ("/v1/answer", "tenant"),
    ("/v1/chat/completions", "router.tenant"),
]


def settings(auth: dict[str, Any] = AUTH) -> Settings:
    return msgspec.convert({"auth": auth}, Settings)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def decided(service: Service, key: str, **more: str) -> str:
    """The id of a decision."""
    body = {"query": QUERY, **more}
    response = await service.client.post("/v1/route", json=body, headers=bearer(key))
    assert response.status_code == 200, response.text
    return str(response.json()["decision_id"])


async def tenant_of(service: Service, decision_id: str) -> str:
    response = await service.client.get(f"/v1/decisions/{decision_id}", headers=bearer("trusted"))
    return str(response.json()["decision"]["tenant"])


@pytest.mark.parametrize(
    ("key", "named", "logged"),
    [
        ("a2", {}, "acme"),
        ("a1", {"tenant": "acme"}, "acme"),
        ("trusted", {"tenant": "globex"}, "globex"),
        ("trusted", {}, ""),
        ("admin-secret", {"tenant": "acme"}, "acme"),
    ],
)
async def test_a_tenants_key_speaks_for_it_and_a_callers_for_whomever_it_names(
    start_service: StartService, key: str, named: dict[str, str], logged: str
) -> None:
    async with start_service(settings(), ENVIRON) as service:
        assert await tenant_of(service, await decided(service, key, **named)) == logged


@pytest.mark.parametrize(("path", "field"), PATHS)
async def test_a_tenants_key_cannot_speak_for_another(
    start_service: StartService, path: str, field: str
) -> None:
    request: dict[str, Any] = {"query": QUERY, "tenant": "globex"}
    if path.endswith("batch"):
        request = {"requests": [request]}
    elif "chat" in path:
        turns = [{"role": "user", "content": QUERY}]
        request = {"model": "auto", "messages": turns, "router": {"tenant": "globex"}}
    async with start_service(settings(), ENVIRON) as service:
        response = await service.client.post(path, json=request, headers=bearer("a1"))
        problem = response.json()
        assert (response.status_code, problem["field"]) == (403, field)
        assert problem["type"].endswith(":other-tenant")
        assert "zyxquor" not in response.text


async def test_another_tenants_decision_is_as_unknown_as_one_that_never_was(
    start_service: StartService,
) -> None:
    async with start_service(settings(), ENVIRON) as service:
        theirs = await decided(service, "g1")
        never = theirs[:-4] + ("0000" if theirs[-4:] != "0000" else "1111")
        answers = []
        for decision_id in (theirs, never):
            response = await service.client.get(
                f"/v1/decisions/{decision_id}", headers=bearer("a1")
            )
            answers.append((response.status_code, response.text.replace(decision_id, "ID")))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
        for key in ("g1", "trusted", "admin-secret"):
            own = await service.client.get(f"/v1/decisions/{theirs}", headers=bearer(key))
            assert own.json()["decision"]["query"] == QUERY


async def test_a_tenants_key_makes_keys_needed(start_service: StartService) -> None:
    only = settings({"tenant_keys_env": {"acme": "ACME"}})
    async with start_service(only, ENVIRON) as service:
        for headers in ({}, bearer("a3"), bearer("")):
            refused = await service.client.post("/v1/route", json={"query": QUERY}, headers=headers)
            assert refused.status_code == 401
        assert await decided(service, "a1")


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"KEYS": "k", "GLOBEX": "g"}, "ACME, which is unset"),
        ({"KEYS": "k", "ACME": "same", "GLOBEX": "same"}, "isn't this tenant's alone"),
        ({"KEYS": "k", "ACME": "k", "GLOBEX": "g"}, "isn't this tenant's alone"),
    ],
)
def test_keys_that_do_not_tell_tenants_apart_are_refused_at_the_start(
    environ: dict[str, str], problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        Keys(msgspec.convert(AUTH, AuthSettings), environ)
