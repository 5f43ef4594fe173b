"""`rag-router ask`: a question to a running service, with its answer and sources as text."""

import json
import os
from typing import Any

import click
import httpx

from router.errors import RouterError

_TIMEOUT_S = 120.0


class AskError(RouterError):
    """The service can't be reached, or gives no answer."""

    kind = "ask-failed"


def ask(url: str, request: dict[str, Any], *, key_env: str | None, as_json: bool) -> None:
    """Print the answer to one request.

    Raises:
        AskError: there is none; the message says why.
    """
    headers = {}
    if key_env is not None:
        headers["Authorization"] = f"Bearer {os.environ.get(key_env, '')}"
    try:
        response = httpx.post(
            f"{url.rstrip('/')}/v1/answer", json=request, headers=headers, timeout=_TIMEOUT_S
        )
        body = response.json()
    except httpx.HTTPError as error:
        raise AskError(
            f"no answer from {url} ({type(error).__name__}): is `rag-router serve` running there?"
        ) from error
    except ValueError as error:
        raise AskError(f"{url} answered {response.status_code}, and no JSON") from error
    if not response.is_success:
        raise AskError(f"{body.get('title', response.status_code)}: {body.get('detail', '')}")
    click.echo(json.dumps(body, indent=2, ensure_ascii=False) if as_json else _as_text(body))


def _as_text(body: dict[str, Any]) -> str:
    lines = [body["answer"], ""]
    for source in body["sources"]:
        mark = "" if source["cited"] else "  (not cited)"
        name = " ".join(part for part in (source["title"], source["uri"]) if part) or source["id"]
        lines.append(f"[{source['number']}] {name}{mark}")
    degraded = f", in place of {body['degraded_from']}" if body["degraded_from"] else ""
    measured = ", ".join(f"{name} {value:.4g}" for name, value in body["metrics"].items())
    lines.append(f"arm {body['arm']}{degraded}; {measured}")
    lines += [f"- {reason}" for reason in body["reasons"]]
    lines.append(f"decision {body['decision_id']}")
    return "\n".join(lines)
