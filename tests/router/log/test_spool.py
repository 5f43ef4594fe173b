"""The spool: what was appended is read back, whatever died in between."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.log.errors import SpoolError
from router.log.spool import Spool


def _drain(spool: Spool) -> list[bytes]:
    """All payloads in the order of replay; the segments are removed."""
    payloads: list[bytes] = []
    while (segment := spool.oldest()) is not None:
        content = spool.read(segment)
        payloads += content.payloads
        spool.remove(segment, content.sound)
    return payloads


@pytest.fixture
def open_spool(tmp_path: Path) -> Iterator[Callable[..., Spool]]:
    """Makes open spools on one directory; they are closed at the end."""
    spools: list[Spool] = []

    def make(**settings: int) -> Spool:
        spool = Spool(tmp_path / "spool", **settings)
        spool.open()
        spools.append(spool)
        return spool

    yield make
    for spool in spools:
        spool.close()


@pytest.fixture
def spool(open_spool: Callable[..., Spool]) -> Spool:
    return open_spool(segment_bytes=64)


def test_payloads_come_back_in_order(spool: Spool) -> None:
    """Over several segments, and with what is appended while they are read."""
    for number in range(50):
        spool.append([b"%d" % number, b"x" * number])
    first = spool.oldest()
    assert first is not None
    spool.append([b"later"])
    payloads = _drain(spool)
    assert payloads[::2] == [b"%d" % number for number in range(50)] + [b"later"]
    assert spool.size_bytes == 0
    assert not list(spool.directory.glob("*.events"))


@given(batches=st.lists(st.lists(st.binary(max_size=100), max_size=5), max_size=8))
@settings(max_examples=50, deadline=None)
def test_any_bytes_survive(batches: list[list[bytes]], tmp_path_factory: object) -> None:
    """Empty payloads and batches included."""
    directory = tmp_path_factory.mktemp("spool")  # type: ignore[attr-defined]
    spool = Spool(directory, segment_bytes=128)
    spool.open()
    for batch in batches:
        spool.append(batch)
    assert _drain(spool) == [payload for batch in batches for payload in batch]
    spool.close()
    assert not list(directory.iterdir())


@pytest.mark.parametrize("cut", [1, 4, 9, 12])
def test_a_torn_tail_costs_only_the_torn_record(spool: Spool, cut: int) -> None:
    """Whole records before the tear are replayed; the tear is counted and removed."""
    spool.append([b"first", b"second"])
    segment = spool.oldest()
    assert segment is not None
    os.truncate(segment, segment.stat().st_size - cut)
    assert _drain(spool) == [b"first"]
    assert spool.damaged == 1
    assert not list(spool.directory.glob("*.events")) + list(spool.directory.glob("*.damaged"))


def test_altered_bytes_are_set_aside_for_a_person(spool: Spool) -> None:
    """A wrong checksum isn't a tear: what was readable is replayed, the file is kept."""
    spool.append([b"first", b"second", b"third"])
    segment = spool.oldest()
    assert segment is not None
    content = segment.read_bytes()
    segment.write_bytes(content.replace(b"second", b"sECOND"))
    assert _drain(spool) == [b"first"]
    assert spool.damaged == 1
    assert len(list(spool.directory.glob("*.damaged"))) == 1


def test_segments_of_a_live_process_are_left_alone(open_spool: Callable[..., Spool]) -> None:
    """Two processes share a directory; each replays its own."""
    one, two = open_spool(), open_spool()
    one.append([b"one"])
    two.append([b"two"])
    two.adopt()
    assert _drain(two) == [b"two"]
    assert _drain(one) == [b"one"]


def test_what_a_closed_spool_leaves_the_next_adopts(open_spool: Callable[..., Spool]) -> None:
    """In order, and before its own; locks of the dead are cleaned away."""
    one = open_spool(segment_bytes=16)
    for payload in (b"first", b"second", b"third"):
        one.append([payload])
    one.close()
    two = open_spool()
    two.append([b"own"])
    assert _drain(two) == [b"first", b"second", b"third", b"own"]
    two.close()
    assert not list(two.directory.iterdir())


_APPEND_AND_WAIT = """
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from router.log.spool import Spool
spool = Spool(Path(sys.argv[1]))
spool.open()
spool.append([b"safe"])
print("safe", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_is_survived_by_what_it_spooled(
    open_spool: Callable[..., Spool],
) -> None:
    """Once append has returned, SIGKILL takes nothing; a live process adopts it, once."""
    ours, other = open_spool(), open_spool()
    process = subprocess.Popen(
        [sys.executable, "-c", _APPEND_AND_WAIT, str(ours.directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"safe\n"
        ours.adopt()
        assert ours.oldest() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    ours.adopt()
    other.adopt()
    assert other.oldest() is None
    assert _drain(ours) == [b"safe"]
    ours.close()
    other.close()
    assert not list(ours.directory.iterdir())


def test_a_full_disk_keeps_earlier_records_whole(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed append nothing half-written stands between whole records."""
    spool.append([b"before"])
    real_write, calls = os.write, []

    def write_half(descriptor: int, data: bytes) -> int:
        calls.append(1)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real_write(descriptor, bytes(data)[:5])

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(OSError, match="No space left"):
        spool.append([b"too much"])
    monkeypatch.undo()
    spool.append([b"after"])
    assert _drain(spool) == [b"before", b"after"]
    assert spool.damaged == 0


def test_a_directory_that_cant_be_made_is_named(tmp_path: Path) -> None:
    """The error says which, and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match=r"file/spool can't be used .*make it writable"):
        Spool(tmp_path / "file" / "spool").open()
