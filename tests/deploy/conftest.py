"""One deployment for all container tests: built and started once, removed whatever happens."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.base_image import import_base_image
from tests.deploy.deployment import Deployment
from tests.deploy.engine import Engine, why_no_engine
from tests.deploy.missing import missing
from tests.deploy.package_sources import pip_configuration


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A running engine; skips where none can start, and fails there where one is required."""
    reason = why_no_engine()
    if reason is not None:
        missing(reason)
    engine = Engine()
    with engine:
        yield engine
    assert engine.leftovers() == []


@pytest.fixture(scope="session")
def deployment(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """compose.yaml, up and healthy."""
    import_base_image(engine)
    folder: Path = tmp_path_factory.mktemp("sources")
    with pip_configuration(folder) as configuration:
        deployment = Deployment(engine, configuration)
        deployment.build()
    try:
        deployment.up()
        yield deployment
    finally:
        deployment.down()
