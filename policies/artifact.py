"""The stored form of a policy: a directory, immutable, named by the hash of its content.

`manifest.json` says what it is and where it came from; `tensors.safetensors` holds the numbers.
Reading one runs no code.
"""

import os
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from policies.errors import ArtifactError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy is, what it fits, and how it came about.

    `training` describes its data (source, rows, window, hash), `estimator` its settings,
    `evaluation` how it was judged, `parent` the version that served at the time. `version`
    is the first 16 hex digits of the content's SHA-256.
    """

    kind: str
    name: str
    arms: list[str]
    metrics: list[str]
    feature_version: str
    created_at: str
    training: dict[str, Any] = {}
    estimator: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}
    parent: str | None = None
    version: str = ""
    schema_version: int = SCHEMA_VERSION


class Artifact(msgspec.Struct, frozen=True):
    """A manifest and its tensors."""

    manifest: Manifest
    tensors: dict[str, NDArray[Any]]

    @property
    def version(self) -> str:
        """The content's hash."""
        return self.manifest.version


def seal(manifest: Manifest, tensors: dict[str, NDArray[Any]]) -> Artifact:
    """An artifact whose manifest carries the hash of its content."""
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in sorted(tensors.items())}
    version = _content_hash(msgspec.to_builtins(manifest), save_tensors(tensors))
    return Artifact(msgspec.structs.replace(manifest, version=version), tensors)


def pack_artifact(artifact: Artifact) -> dict[str, bytes]:
    """The artifact as its files' names and contents."""
    manifest = msgspec.json.format(msgspec.json.encode(artifact.manifest), indent=2)
    return {MANIFEST: manifest + b"\n", TENSORS: save_tensors(artifact.tensors)}


def unpack_artifact(files: dict[str, bytes], *, source: str) -> Artifact:
    """The artifact in these files.

    Raises:
        ArtifactError: a file is missing or damaged, of a later schema, or its hash doesn't match.
    """
    for name in (MANIFEST, TENSORS):
        if name not in files:
            raise ArtifactError(f"{source} is no policy: it has no {name}", field="policy")
    try:
        raw = msgspec.json.decode(files[MANIFEST], type=dict[str, Any])
        manifest = msgspec.convert(raw, Manifest)
        tensors = load_tensors(files[TENSORS])
    except (msgspec.MsgspecError, SafetensorError, ValueError, KeyError, TypeError) as error:
        # The last three: text that isn't UTF-8, and tensor types that numpy doesn't have.
        raise ArtifactError(f"{source} is a damaged policy: {error}", field="policy") from error
    if manifest.schema_version > SCHEMA_VERSION:
        raise ArtifactError(
            f"{source} has schema version {manifest.schema_version}, this release reads up to "
            f"{SCHEMA_VERSION}: upgrade it",
            field="schema_version",
        )
    actual = _content_hash(raw, files[TENSORS])
    if manifest.version != actual:
        raise ArtifactError(
            f"{source} was altered: its manifest says {manifest.version}, its content {actual}",
            field="version",
        )
    return Artifact(manifest, tensors)


def unpack_version(files: dict[str, bytes], version: str) -> Artifact:
    """The artifact in a registry's files, which must be of the version they are kept under.

    Raises:
        ArtifactError: they are damaged, or another version's.
    """
    artifact = unpack_artifact(files, source=f"policy {version}")
    if artifact.version != version:
        raise ArtifactError(
            f"policy {version} was altered: another policy, {artifact.version}, is in its place",
            field="version",
        )
    return artifact


def read_artifact(directory: Path) -> Artifact:
    """The artifact in a directory.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    if not directory.is_dir():
        raise ArtifactError(f"no policy at {directory}: train one, or name another", field="policy")
    files = {
        name: (directory / name).read_bytes()
        for name in (MANIFEST, TENSORS)
        if (directory / name).is_file()
    }
    return unpack_artifact(files, source=str(directory))


def write_artifact(artifact: Artifact, directory: Path) -> None:
    """Write the artifact so that a reader sees all of it or nothing.

    An older policy in that directory is replaced.

    Raises:
        ArtifactError: the directory holds something that is no policy.
    """
    if directory.exists() and not directory.is_dir():
        raise ArtifactError(f"{directory} is a file: name a directory", field="to")
    held = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    if held and (MANIFEST not in held or held - {MANIFEST, TENSORS}):
        raise ArtifactError(
            f"{directory} isn't empty, and holds more than a policy: name another directory",
            field="to",
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        staging.chmod(0o755)
        for name, content in pack_artifact(artifact).items():
            (staging / name).write_bytes(content)
        if directory.exists():
            replaced = staging.with_name(staging.name + "-replaced")
            os.rename(directory, replaced)  # noqa: PTH104 - a directory onto nothing, both ways
            staging.rename(directory)
            shutil.rmtree(replaced)
        else:
            staging.rename(directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _content_hash(manifest: dict[str, Any], tensors: bytes) -> str:
    """Of what was written, not of what this release reads of it: manifests may gain fields."""
    unversioned = {name: value for name, value in manifest.items() if name != "version"}
    canonical = msgspec.json.encode(unversioned, order="deterministic")
    return sha256(canonical + b"\0" + tensors).hexdigest()[:16]
