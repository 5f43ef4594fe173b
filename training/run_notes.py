"""Notes in the store when a scheduled command last succeeded; the service tells it on /metrics."""

import time
from typing import Any

from policies.store_keys import Run, StoreKeys


def note_success(client: Any, keys: StoreKeys, run: Run) -> None:
    """Note that a run has succeeded just now; the client's errors pass through.

    Args:
        client: of the store.
        keys: of the project.
        run: which of them.
    """
    client.hset(keys.last_runs, run, f"{time.time():.3f}")
