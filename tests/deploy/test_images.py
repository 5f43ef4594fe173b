"""The images that deploy/images/Dockerfile builds: what is in them, and what isn't."""

import json
from typing import Any

import pytest

from policies.version import VERSION
from tests.deploy.base_image import BASE_IMAGE
from tests.deploy.deployment import SECRETS, Deployment

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
