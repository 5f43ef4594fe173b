"""Artifacts: whole, unaltered, and of a kind that can be read; otherwise refused."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from policies.artifact import (
    MANIFEST,
    TENSORS,
    Artifact,
    Manifest,
    pack_artifact,
    read_artifact,
    seal,
    unpack_artifact,
    write_artifact,
)
from policies.errors import ArtifactError
from policies.loading import load_policy


def artifact(name: str = "one", **changes: object) -> Artifact:
    manifest = {
        "kind": "linear",
        "name": name,
        "arms": ["a", "b"],
        "metrics": ["quality"],
        "feature_version": "v",
        "created_at": "2026-01-01T00:00:00+00:00",
        **changes,
    }
    tensors = {
        "coefficients": np.ones((2, 1, 4), dtype=np.float32),
        "intercepts": np.zeros((2, 1)),
        "links": np.zeros(1, dtype=np.int8),
    }
    return seal(Manifest(**manifest), tensors)  # type: ignore[arg-type]


def test_the_version_is_the_hash_of_the_content() -> None:
    assert artifact().version == artifact().version
    assert artifact("two").version != artifact().version
    assert len(artifact().version) == 16


def test_a_directory_gives_back_what_was_written(tmp_path: Path) -> None:
    write_artifact(artifact(), tmp_path / "p")
    again = read_artifact(tmp_path / "p")
    assert again.manifest == artifact().manifest
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [MANIFEST, TENSORS]
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_another_policy_takes_the_directorys_place(tmp_path: Path) -> None:
    write_artifact(artifact("one"), tmp_path / "p")
    write_artifact(artifact("two"), tmp_path / "p")
    assert read_artifact(tmp_path / "p").manifest.name == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(ArtifactError, match="isn't empty"):
        write_artifact(artifact(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "dear"


# A sound safetensors file of a type that numpy doesn't have.
_HEADER = b'{"x":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
BFLOAT16 = len(_HEADER).to_bytes(8, "little") + _HEADER + b"\0\0"


def test_a_policys_directory_with_notes_beside_it_is_left_alone(tmp_path: Path) -> None:
    write_artifact(artifact(), tmp_path / "p")
    (tmp_path / "p" / "notes.txt").write_text("dear")
    with pytest.raises(ArtifactError, match="more than a policy"):
        write_artifact(artifact("two"), tmp_path / "p")
    assert (tmp_path / "p" / "notes.txt").read_text() == "dear"


def altered(**changes: bytes | None) -> dict[str, bytes]:
    files = pack_artifact(artifact())
    for name, content in changes.items():
        key = MANIFEST if name == "manifest" else TENSORS
        if content is None:
            del files[key]
        else:
            files[key] = content
    return files


def manifest_with(**changes: object) -> bytes:
    manifest = json.loads(pack_artifact(artifact())[MANIFEST])
    return json.dumps({**manifest, **changes}).encode()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (altered(tensors=None), "no tensors.safetensors"),
        (altered(manifest=None), "no manifest.json"),
        (altered(manifest=b"{"), "damaged"),
        (altered(manifest=b"{}"), "damaged"),
        (altered(manifest=b'{"name": "\xff"}'), "damaged"),
        (altered(tensors=BFLOAT16), "damaged"),
        (altered(tensors=b"garbage"), "damaged"),
        (altered(tensors=pack_artifact(artifact("other"))[TENSORS][:-1] + b"\1"), "altered"),
        (altered(manifest=manifest_with(name="better")), "altered"),
        (altered(manifest=manifest_with(schema_version=99)), "upgrade"),
    ],
)
def test_what_is_not_whole_and_unaltered_is_refused(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        unpack_artifact(files, source="test")


def test_a_missing_directory_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nowhere"):
        read_artifact(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "oracle"}, "doesn't know"),
        ({"arms": ["a"]}, "manifest names 1 arms"),
        ({"kind": "rules"}, "another release's rules"),
        ({"kind": "rules", "metrics": ["cost_usd"]}, "expects no quality"),
        ({"arms": ["a", "a"]}, "different arms"),
        ({"metrics": []}, "different metrics"),
    ],
)
def test_a_sound_artifact_that_holds_no_policy_of_ours_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        load_policy(artifact(**changes))


def test_numbers_that_are_not_finite_are_refused() -> None:
    broken = artifact()
    tensors = {**broken.tensors, "intercepts": np.array([[np.nan], [0.0]])}
    with pytest.raises(ArtifactError, match="finite"):
        load_policy(seal(broken.manifest, tensors))


def test_a_tensor_too_many_is_refused() -> None:
    sound = artifact()
    with pytest.raises(ArtifactError, match="no linear policy has"):
        load_policy(seal(sound.manifest, {**sound.tensors, "extra": np.zeros(1)}))


def test_a_manifest_of_a_later_release_with_a_new_field_is_still_read() -> None:
    files = pack_artifact(artifact())
    manifest = json.loads(files[MANIFEST])
    manifest["mood"] = "good"
    unversioned = {name: value for name, value in manifest.items() if name != "version"}
    canonical = json.dumps(unversioned, sort_keys=True, separators=(",", ":")).encode()
    manifest["version"] = sha256(canonical + b"\0" + files[TENSORS]).hexdigest()[:16]
    files[MANIFEST] = json.dumps(manifest).encode()
    assert unpack_artifact(files, source="test").version == manifest["version"]
