"""The manifests of a Dask cluster: valid, and what they run works together."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.artifact import read_artifact
from policies.loading import load_policy
from tests.dask_cluster import ROOT, free_port, processes, wait_for_workers
from tests.large_world import write_world
from tests.object_storage import BUCKET, KEY, SECRET, ObjectStore
from training.log.log_folder import LogFolder, log_folder

MANIFESTS = ROOT / "deploy" / "dask"
NAMES = ("scheduler", "workers", "train")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((MANIFESTS / f"{name}.yaml").read_text(encoding="utf-8")))


def container(name: str) -> dict[str, Any]:
    """The one container of a manifest's workload."""
    workload = next(one for one in documents(name) if one["kind"] in ("Deployment", "Job"))
    (found,) = workload["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_every_manifest_fits_the_schemas_of_the_kubernetes_api() -> None:
    validate = shutil.which("kubernetes-validate", path=str(Path(sys.executable).parent))
    assert validate is not None, 'pip install "adaptive-rag-router[dev]"'
    files = [str(MANIFESTS / f"{name}.yaml") for name in NAMES]
    found = subprocess.run(
        [validate, "--strict", *files], capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_kustomization_names_every_manifest_and_image() -> None:
    (kustomization,) = documents("kustomization")
    assert set(kustomization["resources"]) == {f"{name}.yaml" for name in NAMES}
    assert {container(name)["image"] for name in NAMES} == {
        image["name"] for image in kustomization["images"]
    }


def command_of(name: str, places: Mapping[str, str]) -> list[str]:
    """A container's command line, addresses and places replaced by this machine's."""
    programs = {
        "dask": [sys.executable, "-m", "dask"],
        "rag-policy": [sys.executable, "-c", "from training.cli import main; main()"],
    }
    found = container(name)
    program, *arguments = [*found["command"], *found.get("args", ())]
    return [*programs[program], *(_at_home(argument, places) for argument in arguments)]


def _at_home(argument: str, places: Mapping[str, str]) -> str:
    for here, there in places.items():
        if argument.startswith(here):
            return there + argument.removeprefix(here)
    return argument


def environment_of(name: str, secrets: Mapping[str, str]) -> dict[str, str]:
    """A container's environment, secrets filled in."""
    return {
        one["name"]: one["value"]
        if "value" in one
        else secrets[one["valueFrom"]["secretKeyRef"]["key"]]
        for one in container(name).get("env", ())
    }


def stored(log: Path, folder: LogFolder) -> None:
    """The log's files on object storage."""
    for path in log.rglob("*.parquet"):
        folder.write(str(path.relative_to(log)), path.read_bytes())


@pytest.mark.slow
def test_what_the_containers_run_works_together(
    tmp_path: Path, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store.environ.items():
        monkeypatch.setenv(name, value)
    write_world(tmp_path / "log", rows=3_000, seed=1)
    stored(tmp_path / "log", log_folder(f"s3://{BUCKET}/production"))
    port = free_port()
    places = {
        "tcp://dask-scheduler:8786": f"tcp://127.0.0.1:{port}",
        "8786": str(port),
        "s3://rag-logs/": f"s3://{BUCKET}/",
        "/policies": str(tmp_path),
        "/tmp": str(tmp_path),
    }
    secrets = {"access-key-id": KEY, "secret-access-key": SECRET}
    cluster = [
        [*command_of("scheduler", places), "--host", "127.0.0.1"],
        [*command_of("workers", places), "--host", "127.0.0.1"],
    ]
    with processes(cluster, tmp_path, environment_of("workers", secrets)):
        wait_for_workers(f"tcp://127.0.0.1:{port}", 1)
        job = subprocess.run(
            command_of("train", places),
            env={
                **object_store.environ,
                **environment_of("train", secrets),
                "PYTHONPATH": str(ROOT),
            },
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert job.returncode == 0, job.stderr
    policy = load_policy(read_artifact(tmp_path / "next"))
    assert policy.artifact().manifest.training["logs"].startswith(f"s3://{BUCKET}/")
