"""Clients that keep a service busy while something happens to it."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx


class Load(threading.Thread, ABC):
    """Sends requests to one replica, one after the other, until told to stop."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.stopping = threading.Event()
        self.failures: list[str] = []
        """The body of each answer that should have been another."""

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=20.0) as client:
            while not self.stopping.is_set():
                self.send(client)

    @abstractmethod
    def send(self, client: httpx.Client) -> None:
        """One round of requests."""


@contextmanager
def running(loads: Sequence[Load]) -> Iterator[None]:
    """They all run, for as long as the block does."""
    for load in loads:
        load.start()
    try:
        yield
    finally:
        for load in loads:
            load.stopping.set()
        for load in loads:
            load.join()
