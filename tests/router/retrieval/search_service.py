"""A search service of one's own, on a real socket: the http adapter's other side in tests."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import msgspec

from policies.settings import SearchStrategy
from router.retrieval.memory_retriever import MemoryRetriever
from router.retrieval.retriever import Search


class Posted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contract's request, decoded strictly."""

    query: str
    k: int
    strategy: SearchStrategy
    tenant: str | None
    updated_since: datetime | None


# Takes the request's headers and body, gives the answer's status and body.
Answer = Callable[[dict[str, str], bytes], tuple[int, bytes]]


@contextmanager
def http_service(answer: Answer) -> Iterator[str]:
    """The URL of a service on a free loopback port that answers like that."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, content = answer(headers, body)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/search"
        finally:
            server.shutdown()
            thread.join()


def searching(retriever: MemoryRetriever) -> Answer:
    """A sound service: it searches what the in-memory twin holds."""

    def answer(_: dict[str, str], body: bytes) -> tuple[int, bytes]:
        posted = msgspec.json.decode(body, type=Posted)
        search = Search(
            text=posted.query,
            k=posted.k,
            strategy=posted.strategy,
            tenant=posted.tenant,
            updated_since=posted.updated_since,
        )
        return 200, msgspec.json.encode({"passages": asyncio.run(retriever.search(search))})

    return answer
