"""What becomes of a test whose tools aren't installed."""

import os
from typing import NoReturn

import pytest

# Set to `required` where all of them have to be there: by .ci/run, which installs them.
TOOLS = "RAG_ROUTER_DEPLOY_TOOLS"


def missing(what: str) -> NoReturn:
    """Skip the test with this reason; fail it where the tools are required."""
    if os.environ.get(TOOLS) == "required":
        pytest.fail(what)
    pytest.skip(what)
