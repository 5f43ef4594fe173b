"""A client of the service's REST endpoints, as an application would be."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from training.errors import FailedOutcome


class RouterClient:
    """Batched decisions and feedback over one connection.

    Every failure is a FailedOutcome that says what to do.
    """

    def __init__(self, url: str, *, key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._url = url
        self._http = httpx.Client(base_url=url, headers=headers, timeout=30.0)

    def __enter__(self) -> "RouterClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def route(self, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One decision a request."""
        body = self._post("/v1/route/batch", {"requests": list(requests)})
        decisions: list[dict[str, Any]] = body["decisions"]
        return decisions

    def give_feedback(self, values: Sequence[Mapping[str, Any]]) -> None:
        """Report metrics; durable when this returns."""
        self._post("/v1/feedback", list(values))

    def _post(self, path: str, body: Any) -> Any:
        try:
            response = self._http.post(path, json=body)
        except httpx.InvalidURL as error:
            raise FailedOutcome(f"{self._url!r} is no URL: {error}") from error
        except httpx.HTTPError as error:
            raise FailedOutcome(
                f"no service answers at {self._url} ({error}): start one with `rag-router serve`, "
                "or name another with --url"
            ) from error
        if response.is_error:
            raise FailedOutcome(f"{path} answered {response.status_code}: {_detail(response)}")
        return response.json()


def _detail(response: httpx.Response) -> str:
    try:
        problem = response.json()
    except json.JSONDecodeError:
        return response.text[:200]
    field = f" [{problem['field']}]" if problem.get("field") else ""
    return f"{problem.get('detail', problem)}{field}"
