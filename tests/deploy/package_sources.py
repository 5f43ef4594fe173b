"""Where a build gets Python packages: as this machine's pip is configured, within a container too.

The configuration goes to the builds as a secret, so that no layer names an index. Wheels in a
folder are served over HTTP on loopback, which builds on the host's network reach.
"""

import functools
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_PASSED_ON = ("index-url", "extra-index-url", "trusted-host", "timeout")


@contextmanager
def pip_configuration(folder: Path) -> Iterator[Path]:
    """A pip.conf that holds within a build for as long as this is entered."""
    own = _own_configuration()
    lines = ["[global]", "cert = /etc/ssl/certs/ca-certificates.crt"]
    for name in _PASSED_ON:
        values = [value for value in own.get(name, "").split() if not value.startswith("file:")]
        lines += [f"{name} = {' '.join(values)}"] if values else []
    with ExitStack() as stack:
        places = [Path(place) for place in own.get("find-links", "").split()]
        served = [stack.enter_context(_served(place)) for place in places if place.is_dir()]
        lines += [f"find-links = {' '.join(served)}"] if served else []
        written = folder / "pip.conf"
        written.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield written


def _own_configuration() -> dict[str, str]:
    """Option by name; the environment's win, as they do for pip."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    pairs = [line.split("=", 1) for line in listed if "=" in line]
    ordered = sorted(pairs, key=lambda pair: pair[0].startswith(":env:"))
    return {
        key.rsplit(".", 1)[-1]: value.strip("'\"").replace("\\n", " ") for key, value in ordered
    }


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
