"""The socket that the service listens on; where there are several workers, each has its own.

Workers that share one don't share the work: the first to wake accepts all connections that wait,
and clients that keep theirs stay with it (measured: one of two workers had 99 % of the decisions).
With SO_REUSEPORT the kernel spreads connections over the sockets that are bound to one port.
"""

import logging
import socket
import sys
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE

_LOGGER = logging.getLogger("uvicorn.error")


def bind(config: uvicorn.Config) -> socket.socket:
    """The configuration's address, bound; whoever starts workers hands it to each of them.

    Raises:
        SystemExit: the address can't be had; the log says why.
    """
    try:
        sock = config.bind_socket()
    except SystemExit:
        _LOGGER.error(
            "can't listen on %s port %d: choose another with --port, or end what has it",
            config.host,
            config.port,
        )
        raise SystemExit(1) from None
    _send_at_once(sock)
    # Elsewhere, SO_REUSEPORT doesn't spread connections, or isn't there.
    if config.workers == 1 or sys.platform != "linux":
        return sock
    # Only now, so that a second service doesn't get in on a port that is taken.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    claim = _claimed(sock)
    each = _OneForEach(fileno=sock.detach())
    each.claim = claim
    return each


def _claimed(sock: socket.socket) -> socket.socket:
    """Hold what only one service can have of an address, since nobody listens there yet.

    An abstract socket of the machine's; it goes with the process, however that ends.
    """
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0rag-router:{sock.family.value}:{sock.getsockname()[:2]}")
    except OSError:
        claim.close()
        host, port = sock.getsockname()[:2]
        sock.close()
        _LOGGER.error(
            "another service is starting on %s port %d: choose another with --port", host, port
        )
        raise SystemExit(1) from None
    return claim


class _OneForEach(socket.socket):
    """Keeps the address, and never listens: a worker that is handed it gets one of its own."""

    claim: socket.socket

    def close(self) -> None:
        self.claim.close()
        super().close()

    def __reduce__(self) -> Any:
        return _bind_too, (self.family, self.getsockname())


def _bind_too(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _send_at_once(sock)
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        sys.stderr.write(
            f"ERROR: a worker can't listen on {address[0]} port {address[1]}: {error}\n"
        )
        # With this status the parent ends, rather than starting the worker again for ever.
        raise SystemExit(STARTUP_FAILURE) from None
    return sock


def _send_at_once(sock: socket.socket) -> None:
    """Accepted connections inherit this.

    uvicorn's own socket leaves Nagle's algorithm on, which costs every keep-alive request the
    peer's delayed acknowledgement, about 40 ms.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
