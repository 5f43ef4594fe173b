"""Where a log lies: the same behaviour on a directory and on a real S3 server."""

from collections.abc import Callable
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import pytest

from tests.object_storage import BUCKET, ObjectStore
from tests.training.sending_engine import sent
from training.errors import InputError
from training.log.log_folder import FolderError, LocalFolder, LogFolder, StoredFile, log_folder

# What a tenant's folder may be called, and what object storage must not decode or resolve.
ODD_NAMES = ("a%2Fb", "%2e%2e", "tenant=%3D", "..%2Fx", "plus+and space", "%")


@pytest.fixture(params=["directory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> LogFolder:
    """An empty folder of each kind."""
    if request.param == "directory":
        return log_folder(tmp_path / "logs")
    store: ObjectStore = request.getfixturevalue("object_store")
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    for name, value in store.environ.items():
        monkeypatch.setenv(name, value)
    return log_folder(s3_location(store, uuid4().hex))


def s3_location(store: ObjectStore, prefix: str) -> str:
    return (
        f"s3://{BUCKET}/{prefix}?scheme=http&endpoint_override={store.url.removeprefix('http://')}"
    )


def test_what_is_written_is_read(folder: LogFolder) -> None:
    """Whole files, replaced whole; the folder and those in it appear by that."""
    assert not folder.exists()
    assert folder.files() == []
    folder.write("a/b", b"first")
    folder.write_all([("a/b", b"second"), ("c", memoryview(b"other"))])
    assert folder.exists()
    assert folder.read("a/b") == b"second"
    with folder.open("c") as file:
        file.seek(2)
        assert file.read() == b"her"
    assert folder.files() == [StoredFile("a/b", 6), StoredFile("c", 5)]
    assert folder.files("a") == [StoredFile("a/b", 6)]
    assert (folder / "a").files() == [StoredFile("b", 6)]


def test_deleting_what_isnt_there_is_fine(folder: LogFolder) -> None:
    """So that an interrupted clean-up can be done again."""
    folder.write_all([("a/b", b""), ("a/c", b"")])
    folder.delete(["a/b", "a/never", "a/b"])
    assert [file.name for file in folder.files()] == ["a/c"]


def test_a_missing_file_is_said_to_be_missing(folder: LogFolder) -> None:
    """Not an error of the storage."""
    with pytest.raises(FileNotFoundError):
        folder.read("never")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_are_taken_as_they_are(folder: LogFolder, name: str) -> None:
    """Nothing is unescaped or resolved on the way."""
    folder.write(f"{name}/file", name.encode())
    assert folder.files() == [StoredFile(f"{name}/file", len(name))]
    assert folder.read(f"{name}/file") == name.encode()


def test_a_folder_travels_to_another_process(folder: LogFolder) -> None:
    """Its copy reads the same files."""
    folder.write("a", b"content")
    copy = sent(folder)
    assert copy.read("a") == b"content"
    assert str(copy) == str(folder)


def test_the_location_is_shown_without_its_settings(object_store: ObjectStore) -> None:
    """As people know it, and so are folders below."""
    folder = log_folder(s3_location(object_store, "logs/") + "&region=eu-west-1")
    assert str(folder) == f"s3://{BUCKET}/logs/"
    assert str(folder / "decisions") == f"s3://{BUCKET}/logs/decisions"
    assert folder.path("a") == f"{BUCKET}/logs/a"


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"])
def test_the_server_can_be_named_in_the_environment(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """By the variables that the SDKs read, and the one that `rag-router index` does."""
    for name, value in object_store.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT")
    monkeypatch.setenv(variable, object_store.url)
    folder = log_folder(f"s3://{BUCKET}/{uuid4().hex}")
    folder.write("a", b"1")
    assert folder.read("a") == b"1"


def test_a_store_that_refuses_or_isnt_there_is_named(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to look at."""
    for name, value in {**object_store.environ, "AWS_SECRET_ACCESS_KEY": "wrong"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FolderError, match=rf"s3://{BUCKET}/x can't be used: .*AWS_ACCESS_KEY_ID"):
        log_folder(s3_location(object_store, "x")).files()
    away = log_folder(f"s3://{BUCKET}/x?endpoint_override=127.0.0.1:1&scheme=http")
    calls: list[Callable[[], object]] = [away.exists, lambda: away.write("a", b"")]
    for call in calls:
        with pytest.raises(FolderError, match="can't be used"):
            call()


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("s3://key:secret@bucket/logs", "s3://bucket/logs: leave the credentials out"),
        ("s3://bucket/logs?endpoint=x", "no such setting endpoint: there are endpoint_override"),
        ("s3://bucket/logs?scheme=gopher", "can't be used"),
        ("s3:///logs", "give s3://BUCKET/PREFIX"),
        ("s3://bucket/../logs", "give s3://BUCKET/PREFIX"),
        ("s3://bucket/logs#2", "write the # in the location as %23"),
        ("s3://key:secret@bucket/logs#2", "write the # in the location as %23"),
        ("file:///logs#2", "write the # in the location as %23"),
        ("hdfs://host/logs", "hdfs:// is no place for a log: give a directory or s3://"),
        ("file://host/logs", "file:// is no place for a log"),
    ],
)
def test_another_location_is_refused(location: str, message: str) -> None:
    """Before anything is contacted, and without showing a secret."""
    with pytest.raises(InputError, match=message) as refused:
        log_folder(location)
    assert "secret@" not in str(refused.value)


def test_a_path_is_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative, absolute or as a URI; shown as it was given."""
    monkeypatch.chdir(tmp_path)
    for location in ("logs", Path("logs"), tmp_path / "logs", f"file://{tmp_path}/logs"):
        folder = log_folder(location)
        assert isinstance(folder, LocalFolder)
        assert folder.path("a") == f"{tmp_path}/logs/a"
    assert str(log_folder("logs")) == "logs"
    assert log_folder(log_folder("logs")).path("a") == f"{tmp_path}/logs/a"


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    """Instead of an empty log."""
    (tmp_path / "logs").write_text("")
    with pytest.raises(InputError, match="logs: is a file"):
        log_folder(tmp_path / "logs").exists()


def test_several_objects_are_on_their_way_at_once(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the first that fails is told."""
    for name, value in object_store.environ.items():
        monkeypatch.setenv(name, value)
    folder = log_folder(s3_location(object_store, uuid4().hex))
    real, together = folder._upload, Barrier(4, timeout=30.0)

    def upload(name: str, content: bytes) -> None:
        together.wait()  # passes where four do at once
        real(name, content)

    monkeypatch.setattr(folder, "_upload", upload)
    folder.write_all((f"file-{number}", b"1") for number in range(20))
    assert len(folder.files()) == 20
    away = log_folder(f"s3://{BUCKET}/x?endpoint_override=127.0.0.1:1&scheme=http")
    with pytest.raises(FolderError, match="can't be used"):
        away.write_all((f"file-{number}", b"1") for number in range(20))


def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing beside it."""
    folder = log_folder(tmp_path)
    folder.write("a", b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.write("a", b"after")
    assert folder.files() == [StoredFile("a", 6)]
    assert folder.read("a") == b"before"
