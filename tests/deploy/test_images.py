"""The images that deploy/images/Dockerfile builds: what is in them, and what isn't."""

import json
from pathlib import Path
from typing import Any

import pytest

from policies.version import VERSION
from tests.deploy.base_image import BASE_IMAGE
from tests.deploy.deployment import SECRETS, Deployment
from tests.deploy.package_sources import pip_configuration

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]

ROUTER, TRAINER = f"adaptive-rag-router:{VERSION}", f"adaptive-rag-trainer:{VERSION}"
SBOM = "/usr/share/sbom/rag-router.cdx.json"
MEGABYTE = 1_000_000


def inspect(deployment: Deployment, image: str) -> Any:
    (found,) = json.loads(deployment.engine.docker("image", "inspect", image))
    return found


def run(deployment: Deployment, image: str, *command: str) -> str:
    """What a program prints in a container that may do nothing."""
    name, *arguments = command
    hardened = ["--read-only", "--cap-drop", "ALL", "--network", "none", "--tmpfs", "/tmp"]
    return deployment.engine.docker(
        "run", "--rm", *hardened, "--entrypoint", name, image, *arguments
    )


def test_the_router_is_small(deployment: Deployment) -> None:
    base = inspect(deployment, BASE_IMAGE)["Size"]
    assert inspect(deployment, ROUTER)["Size"] - base <= 320 * MEGABYTE


def build(
    deployment: Deployment, folder: Path, version: str, *arguments: str, **environ: str
) -> None:
    """Build once more on the deployment's engine, as images of another version."""
    with pip_configuration(folder) as configuration:
        again = Deployment(deployment.engine, configuration)
        again.environ |= {"VERSION": version, **environ}
        again.compose("build", *arguments, timeout_s=900.0)
        again.client.close()


def test_the_router_that_searches_by_itself_is_small_enough(
    deployment: Deployment, tmp_path: Path
) -> None:
    build(deployment, tmp_path, "index", "router-1", ROUTER_EXTRAS="index")
    image = "adaptive-rag-router:index"
    assert "lancedb" in json.loads(_installed(deployment, image))
    base = inspect(deployment, BASE_IMAGE)["Size"]
    assert inspect(deployment, image)["Size"] - base <= 700 * MEGABYTE


def test_the_same_sources_give_the_same_layers(deployment: Deployment, tmp_path: Path) -> None:
    """The images of the deployment were built on an empty engine; here nothing is taken from it."""
    build(deployment, tmp_path, "again", "--no-cache", "router-1", "trainer")
    base = inspect(deployment, BASE_IMAGE)["RootFS"]["Layers"]
    for image in (ROUTER, TRAINER):
        first, again = (
            inspect(deployment, one) for one in (image, image.replace(VERSION, "again"))
        )
        layers = first["RootFS"]["Layers"]
        assert layers[: len(base)] == base
        assert len(layers) > len(base)
        assert again["RootFS"]["Layers"] == layers
        assert again["Id"] != first["Id"]  # the version's label


@pytest.mark.parametrize("image", [ROUTER, TRAINER])
def test_an_image_says_what_it_is(deployment: Deployment, image: str) -> None:
    config = inspect(deployment, image)["Config"]
    labels = config["Labels"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert labels["org.opencontainers.image.title"] == image.split(":", maxsplit=1)[0]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.revision"] == "test"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert {"org.opencontainers.image.created", "org.opencontainers.image.source"} <= set(labels)


def test_the_router_has_a_health_check_and_takes_signals_itself(deployment: Deployment) -> None:
    config = inspect(deployment, ROUTER)["Config"]
    assert config["Entrypoint"] == ["rag-router"]
    assert config["Cmd"][0] == "serve"
    assert config["Healthcheck"]["Test"][0] == "CMD"


def test_the_entry_points_of_the_wheel_run(deployment: Deployment) -> None:
    assert VERSION in run(deployment, ROUTER, "rag-router", "--version")
    assert VERSION in run(deployment, TRAINER, "rag-policy", "--version")
    assert "sound" in run(deployment, ROUTER, "rag-router", "check")


def test_the_router_has_nothing_of_training_and_no_tools(deployment: Deployment) -> None:
    present = set(json.loads(_installed(deployment, ROUTER)))
    assert not present & {"torch", "scikit-learn", "scipy", "pyarrow", "pip", "pytest"}
    script = "import shutil; print([t for t in ('gcc', 'cc', 'make') if shutil.which(t)])"
    assert run(deployment, ROUTER, "python", "-c", script).strip() == "[]"


@pytest.mark.parametrize("image", [ROUTER, TRAINER])
def test_the_bill_of_materials_lists_what_is_installed(deployment: Deployment, image: str) -> None:
    bill = json.loads(run(deployment, image, "cat", SBOM))
    assert bill["bomFormat"] == "CycloneDX"
    listed = {f"{part['name']}=={part['version']}".lower() for part in bill["components"]}
    installed = json.loads(_installed(deployment, image))
    assert {f"{name}=={version}".lower() for name, version in installed.items()} <= listed


def _installed(deployment: Deployment, image: str) -> str:
    script = (
        "import json\nfrom importlib.metadata import distributions as d\n"
        "print(json.dumps({i.metadata['Name']: i.version for i in d(path=["
        "__import__('sysconfig').get_path('purelib')])}))"
    )
    return run(deployment, image, "python", "-c", script)


@pytest.mark.parametrize("image", [ROUTER, TRAINER])
def test_no_secret_of_the_build_or_of_a_service_is_in_an_image(
    deployment: Deployment, image: str
) -> None:
    configured = json.dumps(inspect(deployment, image))
    history = deployment.engine.docker("history", "--no-trunc", "--format", "{{json .}}", image)
    read_script = (
        "import pathlib, sys\n"
        "for file in (*pathlib.Path('/etc').glob('pip*'), *pathlib.Path('/root').rglob('*')):\n"
        "    print(file)"
    )
    left = run(deployment, image, "python", "-c", read_script)
    for secret in (*SECRETS.values(), *deployment.package_indexes):
        assert secret not in configured
        assert secret not in history
    assert "pip" not in left
