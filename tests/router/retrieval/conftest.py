"""A backend of each kind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policies.encoders import Encoder
from tests.router.retrieval.backends import KINDS, Backend, backend


@pytest.fixture(params=KINDS)
async def any_backend(
    request: pytest.FixtureRequest, encoder: Encoder, tmp_path: Path
) -> AsyncIterator[Backend]:
    """An empty backend; each test runs with every kind."""
    async with backend(request.param, encoder, tmp_path) as opened:
        yield opened
