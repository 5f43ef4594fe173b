"""Sockets: one for a single worker; one each for several, among which connections are spread."""

import contextlib
import gc
import socket
import sys
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler

import pytest
import uvicorn

from router.listening import bind

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel spreads them on Linux only")


def config(workers: int, port: int = 0) -> uvicorn.Config:
    return uvicorn.Config("app:app", host="127.0.0.1", port=port, workers=workers)


@contextlib.contextmanager
def handed_to(sock: socket.socket, workers: int) -> Iterator[list[socket.socket]]:
    """What as many workers get, listening: each is sent the socket as uvicorn sends it."""
    with contextlib.ExitStack() as stack:
        handed = []
        for _ in range(workers):
            own = stack.enter_context(ForkingPickler.loads(ForkingPickler.dumps(sock)))
            own.listen(256)
            own.setblocking(False)
            handed.append(own)
        yield handed


def accepted(listener: socket.socket) -> list[socket.socket]:
    connections = []
    with contextlib.suppress(BlockingIOError):
        while True:
            connections.append(listener.accept()[0])
    return connections


@linux
def test_the_connections_of_keep_alive_clients_are_spread_over_the_workers() -> None:
    """Null: the kernel gives each of 64 to either worker alike; one has none: p = 1e-19."""
    with bind(config(workers=2)) as sock, handed_to(sock, 2) as listeners:
        clients = [socket.create_connection(sock.getsockname()) for _ in range(64)]
        shares = [accepted(listener) for listener in listeners]
        assert [len(share) for share in shares].count(0) == 0
        assert sum(map(len, shares)) == 64
        for connection in [*clients, *shares[0], *shares[1]]:
            connection.close()


@linux
def test_each_workers_socket_sends_at_once() -> None:
    with bind(config(workers=2)) as sock, handed_to(sock, 2) as listeners:
        for listener in listeners:
            assert listener.getsockname() == sock.getsockname()
            assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@linux
# uvicorn doesn't close the socket that it couldn't bind.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_service_does_not_get_in_on_the_workers_port(workers: int) -> None:
    with bind(config(workers=2)) as sock, handed_to(sock, 2):
        status: object = None
        try:
            bind(config(workers, port=sock.getsockname()[1]))
        except SystemExit as ended:
            status = ended.code
        gc.collect()
        assert status == 1


@linux
def test_of_two_services_that_start_together_one_gets_the_port() -> None:
    """Before either one's workers listen; and the port is free again once the first has ended."""
    with bind(config(workers=2)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            bind(config(workers=2, port=port))
        assert ended.value.code == 1
    bind(config(workers=2, port=port)).close()


@linux
def test_a_worker_that_cannot_bind_ends_the_service(capfd: pytest.CaptureFixture[str]) -> None:
    """By the status on which uvicorn doesn't start it again."""
    with bind(config(workers=2)) as sock, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(sock.getsockname())
        other.listen()
        with pytest.raises(SystemExit) as ended:
            ForkingPickler.loads(ForkingPickler.dumps(sock))
    assert ended.value.code == 3
    assert "can't listen on 127.0.0.1" in capfd.readouterr().err


def test_a_single_worker_listens_on_the_socket_itself() -> None:
    with bind(config(workers=1)) as sock:
        assert type(sock) is socket.socket
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
