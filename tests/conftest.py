"""Fixtures of all tests: the shipped encoder, and a service over in-memory twins."""

import os
from pathlib import Path

import pytest

from policies.encoders import Encoder, load_encoder

pytest_plugins = ["tests.stores", "tests.clusters", "tests.model_servers", "tests.object_storage"]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The shipped encoder; loading it takes a moment, so all tests share one."""
    return load_encoder("static")


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded outcomes; the test is skipped where there is none."""
    folder = Path(os.environ.get("RAG_ROUTER_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no recorded outcomes at {folder}: set RAG_ROUTER_DATA to their folder")
    return folder
