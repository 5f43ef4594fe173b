"""Callers of a deployment: decisions and feedback without a pause, and what became of each."""

import threading
import time
import uuid
from types import TracebackType
from typing import Self

import httpx

from tests.stores import wait_until


class Load:
    """Callers in threads while entered: each asks, reports on the answer, and asks again.

    `decided` and `reported` are the ids of decisions that were answered and of those whose
    feedback was accepted; `failed` says what any other answer was.
    """

    def __init__(self, client: httpx.Client, *, callers: int = 4) -> None:
        """Store whom to call as: address and key are the client's."""
        self._client = client
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(number,)) for number in range(callers)
        ]
        self.decided: list[str] = []
        self.reported: list[str] = []
        self.failed: list[str] = []
        self.slowest_s = 0.0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for(20)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def wait_for(self, more: int) -> None:
        """Return once so many more decisions have their feedback accepted, or one call failed."""
        enough = len(self.reported) + more
        wait_until(lambda: len(self.reported) >= enough or self.failed, timeout_s=60.0)

    def _call(self, number: int) -> None:
        headers = self._client.headers
        with httpx.Client(base_url=self._client.base_url, headers=headers, timeout=30.0) as client:
            while not self._stop.is_set():
                began = time.monotonic()
                self._once(client, f"Question {len(self.decided)} of caller {number}?")
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                # Two cores serve everything here; the faults matter, not the rate.
                self._stop.wait(0.01)

    def _once(self, client: httpx.Client, query: str) -> None:
        try:
            response = client.post("/v1/route", json={"query": query})
            if response.status_code != 200:
                self.failed.append(f"route: {response.status_code} {response.text[:300]}")
                return
            decision_id = response.json()["decision_id"]
            self.decided.append(decision_id)
            response = client.post(
                "/v1/feedback",
                json={"decision_id": decision_id, "metric": "quality", "value": 1.0},
                headers={"Idempotency-Key": str(uuid.uuid4())},
            )
            if response.status_code != 202:
                self.failed.append(f"feedback: {response.status_code} {response.text[:300]}")
                return
            self.reported.append(decision_id)
        except httpx.HTTPError as error:
            self.failed.append(f"{type(error).__name__}: {error}")
